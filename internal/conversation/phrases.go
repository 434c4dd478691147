package conversation

import (
	"strings"

	"neurosphere.ai/neurosphere/events"
)

// Words for when the model has none.
const (
	trouble  = "I'm sorry, I'm having trouble just now. Could you say that once more? "
	again    = "I'm sorry, it still doesn't work. Please leave your name and number, and someone will call you back. "
	cutShort = " I'm sorry, I lost my thread. Please go on. "
)

// phrases are those words in one language.
type phrases struct {
	trouble  string // the first time
	again    string // the second time in a row
	cutShort string // in the middle of an answer
	farewell string // before hanging up
	through  string // before a transfer
}

// phrasesIn are the words in a tenant's language, English where we have none.
func phrasesIn(language string) phrases {
	base, _, _ := strings.Cut(strings.ToLower(language), "-")
	switch base {
	case "es":
		return phrases{
			"Lo siento, tengo un problema en este momento. ¿Podría repetirlo? ",
			"Lo siento, sigue sin funcionar. Por favor, deje su nombre y su número, y alguien le llamará. ",
			" Disculpe, he perdido el hilo. Continúe, por favor. ",
			"Gracias por llamar. ¡Adiós!", "Un momento, le paso. ",
		}
	case "fr":
		return phrases{
			"Je suis désolé, j'ai un problème en ce moment. Pourriez-vous répéter ? ",
			"Je suis désolé, cela ne fonctionne toujours pas. Laissez votre nom et votre numéro, et quelqu'un vous rappellera. ",
			" Excusez-moi, j'ai perdu le fil. Continuez, je vous prie. ",
			"Merci de votre appel. Au revoir !", "Un instant, je vous mets en relation. ",
		}
	case "de":
		return phrases{
			"Entschuldigung, ich habe gerade ein Problem. Können Sie das bitte noch einmal sagen? ",
			"Entschuldigung, es geht immer noch nicht. Bitte nennen Sie Ihren Namen und Ihre Nummer, dann ruft Sie jemand zurück. ",
			" Entschuldigung, ich habe den Faden verloren. Bitte sprechen Sie weiter. ",
			"Vielen Dank für Ihren Anruf. Auf Wiederhören!", "Einen Moment, ich verbinde Sie. ",
		}
	case "it":
		return phrases{
			"Mi dispiace, in questo momento ho un problema. Può ripetere, per favore? ",
			"Mi dispiace, non funziona ancora. Lasci il suo nome e il suo numero e qualcuno la richiamerà. ",
			" Mi scusi, ho perso il filo. Continui pure. ",
			"Grazie per aver chiamato. Arrivederci!", "Un momento, la metto in linea. ",
		}
	case "pt":
		return phrases{
			"Desculpe, estou com um problema neste momento. Poderia repetir? ",
			"Desculpe, ainda não funciona. Deixe o seu nome e número, por favor, e alguém vai ligar de volta. ",
			" Desculpe, perdi o fio. Continue, por favor. ",
			"Obrigado pela sua chamada. Até logo!", "Um momento, vou transferir. ",
		}
	}
	return phrases{
		trouble, again, cutShort,
		"Thank you for calling. Goodbye!", "One moment, I am putting you through. ",
	}
}

// troubled reports whether the last thing the agent said was that it could not
// answer; it may have been interrupted saying so.
func (p phrases) troubled(history []events.Line) bool {
	const enough = 12 // bytes that no other line begins with
	for i := len(history) - 1; i >= 0; i-- {
		if history[i].Role != events.RoleAgent {
			continue
		}
		text := strings.TrimSpace(history[i].Text)
		return len(text) >= enough && (strings.HasPrefix(p.trouble, text) || strings.HasPrefix(p.again, text))
	}
	return false
}
