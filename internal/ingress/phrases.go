package ingress

import "strings"

// phrases are what a caller hears of us when no agent can speak, in one
// language.
type phrases struct {
	filler    string // an answer takes long
	wayOn     string // no worker answered
	nobody    string // the person the call was transferred to did not answer
	voicemail string // after the business's name
	recorded  string // a message was left
	away      string // nobody can take the call
}

// phrasesIn are the words in a tenant's language, English where we have none.
func phrasesIn(language string) phrases {
	base, _, _ := strings.Cut(strings.ToLower(language), "-")
	switch base {
	case "es":
		return phrases{
			"Un momento, por favor. ",
			"Lo siento, ahora mismo no puedo ayudarle. Repítalo, por favor, o espere y alguien le llamará. ",
			"Lo siento, nadie ha podido atender su llamada. ¿En qué más puedo ayudarle?",
			"Por favor, deje su mensaje después de la señal.",
			"Gracias. Hemos grabado su mensaje. ¡Adiós!",
			"Lo sentimos. Ahora no podemos atender su llamada. Por favor, inténtelo más tarde.",
		}
	case "fr":
		return phrases{
			"Un instant, s'il vous plaît. ",
			"Je suis désolé, je ne peux pas vous répondre à l'instant. Veuillez répéter, ou patientez et quelqu'un vous rappellera. ",
			"Je suis désolé, personne n'a pu prendre votre appel. Que puis-je faire d'autre pour vous ?",
			"Veuillez laisser votre message après le signal sonore.",
			"Merci. Votre message est enregistré. Au revoir !",
			"Nous sommes désolés. Nous ne pouvons pas prendre votre appel. Veuillez réessayer plus tard.",
		}
	case "de":
		return phrases{
			"Einen Moment, bitte. ",
			"Entschuldigung, das geht gerade nicht. Bitte sagen Sie es noch einmal, oder warten Sie, und jemand ruft Sie zurück. ",
			"Entschuldigung, gerade konnte niemand Ihren Anruf annehmen. Wie kann ich sonst helfen?",
			"Bitte hinterlassen Sie nach dem Ton eine Nachricht.",
			"Vielen Dank. Ihre Nachricht ist aufgenommen. Auf Wiederhören!",
			"Entschuldigung, wir können Ihren Anruf gerade nicht annehmen. Bitte versuchen Sie es später noch einmal.",
		}
	case "it":
		return phrases{
			"Un momento, per favore. ",
			"Mi dispiace, in questo momento non riesco a rispondere. Lo ripeta, per favore, o attenda e qualcuno la richiamerà. ",
			"Mi dispiace, nessuno ha potuto rispondere. Come altro posso aiutarla?",
			"Lasci un messaggio dopo il segnale acustico.",
			"Grazie. Il suo messaggio è stato registrato. Arrivederci!",
			"Ci dispiace. Ora non possiamo rispondere. Riprovi più tardi, per favore.",
		}
	case "pt":
		return phrases{
			"Um momento, por favor. ",
			"Desculpe, não consigo responder agora. Repita, por favor, ou aguarde e alguém vai ligar de volta. ",
			"Desculpe, ninguém pôde atender a sua chamada. Em que mais posso ajudar?",
			"Por favor, deixe a sua mensagem após o sinal.",
			"Obrigado. A sua mensagem foi gravada. Até logo!",
			"Desculpe. Não podemos atender a sua chamada agora. Por favor, tente mais tarde.",
		}
	}
	return phrases{
		"One moment, please. ",
		"I'm sorry, I can't get to that right now. Please say it once more, or hold on and someone will call you back. ",
		"I'm sorry, nobody could take your call just now. How else can I help?",
		"Please leave a message after the tone.",
		"Thank you. Your message has been recorded. Goodbye.",
		"We're sorry. We can't take your call right now. Please try again later.",
	}
}
