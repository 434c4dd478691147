package simulated

import (
	"encoding/json"
	"regexp"
	"strings"
)

// reply is what the stand-in says, and the tools it calls.
type reply struct {
	text  string
	calls []toolUse
}

type toolUse struct{ name, arguments string }

var (
	whoIAm  = regexp.MustCompile(`^You are (.+?), the AI receptionist of (.+?)\.(?:\s|$)`)
	goodbye = regexp.MustCompile(`(?i)\b(good ?bye|bye|bye-bye|have a (good|great|nice) (day|one|evening|night|weekend))\b[\s.!,]*$`)
	wants   = regexp.MustCompile(`(?i)\b(leave (?:a |him |her |them )?(?:a )?message|tell (?:him|her|them|[A-Z][a-z]+) that|let (?:him|her|them|[A-Z][a-z]+) know)\b`)
	textMe  = regexp.MustCompile(`(?i)\b(text me|send me a text|text (?:it|that|this) to me|send (?:it|that) by text)\b`)
	person  = regexp.MustCompile(`(?i)\b(speak|talk|connect|transfer|put)\b.{0,30}\b(to|with|through|me)\b`)
)

// answerTo makes an answer out of the conversation, by rules. The same
// conversation always gets the same answer.
func answerTo(req chatRequest) reply {
	msgs := req.Messages
	// A last line of our own is the beginning of the answer: go on from there.
	begun := ""
	if last := msgs[len(msgs)-1]; last.Role == "assistant" && len(last.ToolCalls) == 0 {
		begun, msgs = last.Content, msgs[:len(msgs)-1]
	}
	a := composed(req, msgs)
	if begun != "" {
		rest, ok := strings.CutPrefix(a.text, begun)
		if !ok {
			rest, _ = strings.CutPrefix(a.text, strings.TrimSpace(begun))
		}
		a.text = rest
		if a.text == "" && len(a.calls) == 0 {
			a.text = " "
		}
	}
	return a
}

func composed(req chatRequest, msgs []chatMessage) reply {
	agent, business, known := "the assistant", "the office", ""
	var said []string // by the caller
	answers := 0
	toolDone := false
	for _, m := range msgs {
		switch m.Role {
		case "system":
			if w := whoIAm.FindStringSubmatch(m.Content); w != nil {
				agent, business = w[1], w[2]
			}
			if _, after, ok := strings.Cut(m.Content, "=== CALLER ==="); ok {
				known = after
			}
		case "user":
			said = append(said, m.Content)
			toolDone = false
		case "assistant":
			if strings.TrimSpace(m.Content) != "" {
				answers++
			}
		case "tool":
			toolDone = true
		}
	}
	if len(said) == 0 {
		return reply{text: "Hello, this is " + agent + " at " + business + ". How can I help you?"}
	}
	last := said[len(said)-1]
	name := ownName(said)
	if name == "" {
		name = knownName(known)
	}
	first, _, _ := strings.Cut(name, " ")
	if toolDone {
		return reply{text: "That is noted. Is there anything else I can do for you?"}
	}
	if u, ok := tools(req, last, first); ok {
		return u
	}
	return reply{text: spoken(last, first, agent, business, answers)}
}

// tools are called only when the caller asks for what they do.
func tools(req chatRequest, last, name string) (reply, bool) {
	comma := ""
	if name != "" {
		comma = ", " + name
	}
	switch {
	case offers(req, "end_call") && goodbye.MatchString(last) && len(strings.Fields(last)) <= 14:
		return reply{"Thank you for calling" + comma + ". Goodbye!", []toolUse{{"end_call", arguments("reason", "caller said goodbye")}}}, true
	case offers(req, "send_text") && textMe.MatchString(last):
		return reply{"Of course" + comma + ", I will have that sent to you as a text. ", []toolUse{{"send_text", arguments("body", "As you asked on the phone: "+shorten(last, 120))}}}, true
	case offers(req, "take_message") && wants.MatchString(last):
		return reply{"I will pass that on" + comma + ". ", []toolUse{{"take_message", arguments("for", recipient(last), "message", last, "callback", digitsOf(last))}}}, true
	case offers(req, "transfer_call") && person.MatchString(last):
		for _, rule := range choices(req) {
			if strings.Contains(strings.ToLower(last), strings.ToLower(rule)) {
				return reply{"One moment" + comma + ", I am putting you through. ", []toolUse{{"transfer_call", arguments("to", rule, "reason", "caller asked for "+rule)}}}, true
			}
		}
	}
	return reply{}, false
}

func offers(req chatRequest, name string) bool {
	for _, t := range req.Tools {
		if t.Function.Name == name {
			return true
		}
	}
	return false
}

// choices are the names a call can be transferred to.
func choices(req chatRequest) []string {
	for _, t := range req.Tools {
		if t.Function.Name != "transfer_call" {
			continue
		}
		var p struct {
			Properties struct {
				To struct {
					Enum []string `json:"enum"`
				} `json:"to"`
			} `json:"properties"`
		}
		if json.Unmarshal(t.Function.Parameters, &p) == nil {
			return p.Properties.To.Enum
		}
	}
	return nil
}

func arguments(kv ...string) string {
	m := map[string]string{}
	for i := 0; i+1 < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	raw, _ := json.Marshal(m)
	return string(raw)
}

var messageFor = regexp.MustCompile(`(?:message for|tell|let) ([A-Z][a-z]+)`)

func recipient(s string) string {
	if m := messageFor.FindStringSubmatch(s); m != nil {
		return m[1]
	}
	return ""
}

// spoken echoes what the caller said and asks for what comes next.
func spoken(last, name, agent, business string, answers int) string {
	var b strings.Builder
	if answers <= 1 {
		b.WriteString("This is " + agent + ", the simulated assistant of " + business + ". ")
	}
	if name != "" && answers%3 == 0 {
		b.WriteString("Thank you, " + name + ". ")
	} else {
		b.WriteString("I see. ")
	}
	if strings.HasSuffix(strings.TrimSpace(last), "?") {
		b.WriteString("You are asking: " + shorten(mirrored(last), 140) + " ")
		b.WriteString("I will have someone look into it. ")
	} else {
		b.WriteString("So " + strings.TrimRight(shorten(mirrored(last), 140), ".!, ") + ". ")
	}
	next := []string{
		"What else should we know?", "Is there a good number to reach you at?",
		"When did that come up?", "How would you like us to follow up?", "Anything else?",
	}
	if name == "" {
		next[0] = "May I have your full name, please?"
	}
	b.WriteString(next[answers%len(next)])
	return b.String()
}

var swap = map[string]string{"i": "you", "i'm": "you're", "my": "your", "me": "you", "am": "are", "mine": "yours", "i've": "you've", "i'd": "you'd", "i'll": "you'll", "we": "you", "our": "your", "us": "you"}

// mirrored says the caller's words back: "my car" is "your car".
func mirrored(s string) string {
	words := strings.Fields(s)
	for i, w := range words {
		core := strings.Trim(w, ".,!?;:")
		if v, ok := swap[strings.ToLower(core)]; ok {
			if i > 0 && strings.ContainsAny(words[i-1][len(words[i-1])-1:], ".!?") {
				v = strings.ToUpper(v[:1]) + v[1:]
			}
			words[i] = strings.Replace(w, core, v, 1)
		} else if i == 0 && core != "I" && !isName(core) {
			words[i] = strings.ToLower(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, " ")
}

// shorten cuts after a sentence or a word.
func shorten(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= n {
		return s
	}
	cut := s[:n]
	if i := strings.LastIndexAny(cut, ".!?"); i > n/2 {
		return cut[:i+1]
	}
	if i := strings.LastIndexByte(cut, ' '); i > 0 {
		cut = cut[:i]
	}
	return cut + "…"
}

var knownAs = regexp.MustCompile(`(?m)^Name: (.+)$`)

func knownName(section string) string {
	if m := knownAs.FindStringSubmatch(section); m != nil {
		return strings.TrimSpace(m[1])
	}
	return ""
}

func ownName(said []string) string {
	name := ""
	for _, s := range said {
		for _, f := range nameIn(s, false) {
			name = better(name, f)
		}
	}
	return name
}

func digitsOf(s string) string {
	if m := phoneForm.FindString(s); m != "" {
		return m
	}
	return ""
}
