package settings

import (
	"fmt"
	"strings"
)

// A Slider is one dial of an agent's personality: 0 to 100, 50 says nothing.
type Slider struct {
	Name      string
	Low, High string // what its ends mean, as an instruction
}

// Sliders are all thirty, in the order they are shown.
var Sliders = []Slider{
	{"warmth", "keep an even, matter-of-fact tone", "be warm and friendly"},
	{"formality", "talk casually, as among neighbours", "talk formally and use full sentences"},
	{"humor", "stay serious", "be light-hearted where it fits"},
	{"directness", "lead up to things gently", "come straight to the point"},
	{"empathy", "stick to the facts rather than to feelings", "acknowledge how the caller feels"},
	{"confidence", "be tentative and leave room for doubt", "speak with assurance"},
	{"curiosity", "ask only what is needed", "ask follow-up questions"},
	{"patience", "keep the call moving", "take all the time the caller needs"},
	{"creativity", "keep to the usual answers", "offer ideas of your own"},
	{"analytical", "go by feel rather than by figures", "reason step by step"},
	{"storytelling", "give plain answers without examples", "use short examples"},
	{"detail", "keep answers as short as they can be", "give the details"},
	{"assertiveness", "let the caller lead", "lead the conversation"},
	{"humility", "show what you know", "be modest about what you know"},
	{"optimism", "be sober about outcomes", "look on the bright side"},
	{"sarcasm", "take everything at face value", "allow yourself some dry wit"},
	{"formalityShift", "keep the same register throughout", "match the caller's register"},
	{"inclusive", "use plain everyday wording", "choose wording that includes everybody"},
	{"memory", "do not bring up earlier calls", "refer to what you know from earlier calls"},
	{"risk", "play it safe", "be willing to suggest the bolder option"},
	{"selfReference", "do not talk about yourself", "speak as yourself, in the first person"},
	{"topicFocus", "let the talk wander", "bring the talk back to its subject"},
	{"repetition", "say things once", "repeat what matters, to confirm it"},
	{"polish", "talk as people talk", "use polished phrasing"},
	{"intensity", "stay calm and low-key", "be energetic"},
	{"caution", "answer freely", "add the caveats that matter"},
	{"jargon", "avoid every technical term", "use the terms of the trade"},
	{"humorSensitivity", "do not worry about a joke falling flat", "joke only when the caller does"},
	{"consistency", "vary your phrasing", "answer the same question the same way"},
	{"metaAwareness", "do not comment on the conversation", "say where the conversation stands"},
}

// SliderLines are the prompt lines that sliders call for. The rule is fixed: at
// 50 nothing; above, how much of the high end; below, a touch of the low end;
// below 30, the low end firmly.
func SliderLines(values map[string]int) (lines []string) {
	for _, s := range Sliders {
		v, ok := values[s.Name]
		if !ok || v == 50 {
			continue
		}
		switch {
		case v >= 80:
			lines = append(lines, "Very much: "+s.High+".")
		case v >= 65:
			lines = append(lines, "Quite: "+s.High+".")
		case v > 50:
			lines = append(lines, "Moderately: "+s.High+".")
		case v >= 30:
			lines = append(lines, "Rather: "+s.Low+".")
		default:
			lines = append(lines, "Always: "+s.Low+".")
		}
	}
	return lines
}

func checkSliders(values map[string]int) (errs []error) {
	for name, v := range values {
		if !isSlider(name) {
			errs = append(errs, fmt.Errorf("sliders.%s: there is no such slider; there are %s", name, sliderNames()))
		} else if v < 0 || v > 100 {
			errs = append(errs, fmt.Errorf("sliders.%s: want 0 to 100, got %d", name, v))
		}
	}
	return errs
}

func isSlider(name string) bool {
	for _, s := range Sliders {
		if s.Name == name {
			return true
		}
	}
	return false
}

func sliderNames() string {
	names := make([]string, len(Sliders))
	for i, s := range Sliders {
		names[i] = s.Name
	}
	return strings.Join(names, " ")
}

// Blocks are the parts of a prompt a tenant can word itself, in the order they
// are used, with what they say for a tenant that does not.
var Blocks = []struct{ Name, Default string }{
	{"role", "You answer the phone, find out what the caller needs, note it down, and see to it that the right person gets it."},
	{"tone", "Be friendly and calm. Make the caller feel listened to."},
	{"style", "Talk the way people talk on the phone: one or two short sentences, then let the caller speak. Ask one question at a time."},
	{"knowledge", "You know what is written here and what the caller tells you. For anything else offer to have someone call back."},
	{"safety", "Give no legal, medical or financial advice, quote no prices, promise nothing on the business's behalf, and never ask for card numbers, passwords or a social security number."},
}
