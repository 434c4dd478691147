package simulated

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
)

// The document a summarizer sends, and the one it gets.
type (
	callDocument struct {
		Agent  string `json:"agent"`
		Fields []struct {
			Path   string   `json:"path"`
			Values []string `json:"values"`
		} `json:"fields"`
		Turns []struct {
			Turn int    `json:"turn"`
			Role string `json:"role"`
			Text string `json:"text"`
		} `json:"turns"`
	}
	finding struct {
		Evidence   string `json:"evidence"`
		Turn       int    `json:"turn"`
		Subject    string `json:"subject"`
		Field      string `json:"field"`
		Value      string `json:"value"`
		Confidence string `json:"confidence"`
	}
	findingsDocument struct {
		Summary    string    `json:"summary"`
		Topics     []string  `json:"topics"`
		Sentiment  string    `json:"sentiment"`
		Resolution string    `json:"resolution"`
		Stage      string    `json:"stage"`
		StageQuote string    `json:"stage_evidence"`
		Findings   []finding `json:"findings"`
	}
	found struct{ evidence, value string }
)

const (
	nameWord = `[A-Z][a-zA-Z'’-]+`
	nameForm = `(` + nameWord + `(?: ` + nameWord + `){0,2})`
)

var (
	ownNameForm  = regexp.MustCompile(`\b(?:[Mm]y (?:full |first )?name is|[Mm]y name's|[Tt]his is|[Ii]t is|[Ii]t's|I am|I'm|[Nn]ame is) ` + nameForm)
	lowNameForm  = regexp.MustCompile(`(?i)\bmy (?:full )?name is ([a-z]+(?: [a-z]+)?)`)
	lastNameForm = regexp.MustCompile(`(?i)\bmy last name is ([a-z'-]+)`)
	bareName     = regexp.MustCompile(`^(?:(?:Yes|Sure|Of course|Okay|Ok)[,.!]? )?(?:It's |it's )?` + nameForm + `[.,!]?(?:$|,? and )`)
	askedName    = regexp.MustCompile(`(?i)\b(your|full|first and last) (full )?name\b`)
	policyForm   = regexp.MustCompile(`(?i)\b(?:policy|account|claim)(?: number)?(?: is| is:|:)? ?#?([A-Z]{0,4}-?[0-9][A-Z0-9-]{2,})`)
	phoneForm    = regexp.MustCompile(`\+?\(?\b[0-9]{3}\)?[-. ]?[0-9]{3}[-. ]?[0-9]{4}\b|\b[0-9]{3}-[0-9]{4}\b`)
	ownPhone     = regexp.MustCompile(`(?i)\b(my (?:phone |cell |mobile |callback )?number|reach me|call me)\b`)
	emailForm    = regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}`)
	carForm      = regexp.MustCompile(`\b(?:[Mm]y|I (?:drive|own|have|was driving)) (?:a |an |in my |my )?(?:[a-z]+ )?((?:19|20)[0-9]{2} )?(` + makes + `)(?: ([A-Z0-9][A-Za-z0-9-]+))?`)
	yearMake     = regexp.MustCompile(`\b((?:19|20)[0-9]{2}) (` + makes + `)(?: ([A-Z0-9][A-Za-z0-9-]+))?`)
	addressForm  = regexp.MustCompile(`\b([0-9]{1,5} (?:[A-Z][a-z]+ ){1,3}(?:Street|St|Avenue|Ave|Road|Rd|Drive|Dr|Lane|Ln|Court|Ct|Boulevard|Blvd|Way|Place))\b`)
	ownAddress   = regexp.MustCompile(`(?i)\b(my (?:new |home )?address|i live|moving to|moved to|we live)\b`)
	spouseForm   = regexp.MustCompile(`\b[Mm]y (?:wife|husband|spouse)(?:'s name is|,)? (` + nameWord + `)`)
	budgetForm   = regexp.MustCompile(`(?i)\bbudget (?:is|of|around|about|up to)?(?: about| around)? ?(\$?[0-9][0-9,.]*(?: ?(?:k|thousand|million))?)`)
	bedsForm     = regexp.MustCompile(`(?i)\b(one|two|three|four|five|six|[1-9])[- ]bed(?:room)?s?\b`)
	bathsForm    = regexp.MustCompile(`(?i)\b(one|two|three|four|[1-9](?:\.5)?)[- ]bath(?:room)?s?\b`)
	dateForm     = regexp.MustCompile(`\b(?:(?:January|February|March|April|May|June|July|August|September|October|November|December) [0-9]{1,2}(?:st|nd|rd|th)?(?:,? [0-9]{4})?|[0-9]{1,2}/[0-9]{1,2}/[0-9]{2,4}|(?:on |by |next )(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday))\b`)
	personForm   = regexp.MustCompile(`\b([Hh]is|[Hh]er|[Tt]heir|[Tt]he other driver's|[Tt]he witness's|[Tt]he driver's) name (?:is|was) ` + nameForm)
	otherDriver  = regexp.MustCompile(`(?i)\b(other driver|other car|other vehicle|hit by|he was|she was|they were|his car|her car|another)\b`)
)

const makes = `Acura|Audi|BMW|Buick|Cadillac|Chevrolet|Chevy|Chrysler|Dodge|Fiat|Ford|Genesis|GMC|Honda|Hyundai|Infiniti|Jaguar|Jeep|Kia|Lexus|Lincoln|Mazda|Mercedes|Mini|Mitsubishi|Nissan|Porsche|Ram|Rivian|Subaru|Tesla|Toyota|Volkswagen|Volvo`

// notNames begin sentences after "this is", "I'm" and the like.
var notNames = map[string]bool{"The": true, "A": true, "An": true, "Not": true, "Sorry": true, "Just": true, "In": true, "At": true, "On": true, "Calling": true, "Okay": true, "Fine": true, "Yes": true, "No": true, "So": true, "Very": true, "Really": true, "Going": true, "Looking": true, "Sure": true, "Good": true, "Great": true, "My": true, "I": true, "It": true, "That": true, "There": true, "We": true, "Hello": true, "Hi": true, "Thank": true, "Thanks": true, "And": true, "Also": true, "Well": true, "Correct": true, "Right": true, "Now": true, "Main": true, "Interstate": true, "Highway": true, "Route": true, "Yeah": true}

func isName(w string) bool {
	return len(w) > 1 && w[0] >= 'A' && w[0] <= 'Z' && !notNames[w]
}

// nameIn finds how a caller names himself. asked: the agent has just asked for
// the name, so that a bare name is one.
func nameIn(text string, asked bool) (out []found) {
	for _, m := range ownNameForm.FindAllStringSubmatchIndex(text, -1) {
		before := strings.ToLower(text[max(0, m[0]-16):m[0]])
		intro := strings.ToLower(text[m[0]:m[2]])
		// "his name is": somebody else's; a bare "name is" needs nothing before it.
		if strings.HasSuffix(before, "his ") || strings.HasSuffix(before, "her ") || strings.HasSuffix(before, "their ") ||
			strings.HasPrefix(intro, "name is") && strings.HasSuffix(before, "'s ") {
			continue
		}
		if (strings.HasPrefix(intro, "it is") || strings.HasPrefix(intro, "it's")) && !asked && m[0] > 12 {
			continue
		}
		if name := trimName(text[m[2]:m[3]]); name != "" {
			end := m[2] + strings.Index(text[m[2]:], name) + len(name)
			out = append(out, found{text[m[0]:end], name})
		}
	}
	if len(out) == 0 {
		if m := lowNameForm.FindStringSubmatch(text); m != nil && m[1] == strings.ToLower(m[1]) {
			var words []string
			for _, w := range strings.Fields(m[1]) {
				if w == "and" || w == "my" || w == "i" {
					break
				}
				words = append(words, strings.ToUpper(w[:1])+w[1:])
			}
			if len(words) > 0 {
				out = append(out, found{m[0], strings.Join(words, " ")})
			}
		}
	}
	if m := lastNameForm.FindStringSubmatch(text); m != nil {
		out = append(out, found{m[0], "… " + strings.ToUpper(m[1][:1]) + m[1][1:]})
	}
	if len(out) == 0 && asked {
		if m := bareName.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
			if name := trimName(m[1]); name != "" && strings.Contains(name, " ") {
				out = append(out, found{name, name})
			}
		}
	}
	return out
}

// trimName drops what is no name from both ends.
func trimName(s string) string {
	words := strings.Fields(s)
	if len(words) == 0 || !isName(words[0]) {
		return ""
	}
	for i, w := range words {
		if !isName(strings.TrimRight(w, ".,")) {
			return strings.Join(words[:i], " ")
		}
	}
	return strings.TrimSuffix(strings.Join(words, " "), "'s")
}

// better joins what was learnt of a name before with what is said now.
func better(have, now string) string {
	if last, ok := strings.CutPrefix(now, "… "); ok {
		first, _, _ := strings.Cut(have, " ")
		return strings.TrimSpace(first + " " + last)
	}
	switch {
	case have == "":
		return now
	case strings.Contains(have, " ") && !strings.Contains(now, " "):
		return have // a first name adds nothing to a full one
	case !strings.Contains(have, " ") || strings.Split(have, " ")[0] == strings.Split(now, " ")[0]:
		return now
	}
	return have
}

// extract reads a call by rules and answers with findings.
func extract(user string) (string, error) {
	var doc callDocument
	if err := json.Unmarshal([]byte(user), &doc); err != nil || doc.Turns == nil {
		return "", errors.New("not a call")
	}
	x := extraction{doc: doc, fields: map[string]bool{}}
	for _, f := range doc.Fields {
		x.fields[f.Path] = true
	}
	asked := false
	for _, t := range doc.Turns {
		if t.Role == "agent" {
			asked = askedName.MatchString(t.Text)
			continue
		}
		x.turn(t.Turn, t.Text, asked)
		asked = false
	}
	raw, err := json.Marshal(x.result())
	return string(raw), err
}

type extraction struct {
	doc    callDocument
	fields map[string]bool
	out    []finding
	name   found
	nameAt int
	cars   int
	said   []string
}

func (x *extraction) add(turn int, field, subject, evidence, value string) {
	if x.fields[field] || strings.HasPrefix(field, "memory.") {
		x.out = append(x.out, finding{Evidence: evidence, Turn: turn, Subject: subject, Field: field, Value: value, Confidence: "stated"})
	}
}

func (x *extraction) turn(n int, text string, asked bool) {
	x.said = append(x.said, text)
	for _, f := range nameIn(text, asked) {
		if strings.EqualFold(f.value, x.doc.Agent) {
			continue
		}
		if v := better(x.name.value, f.value); v != x.name.value {
			ev := f.evidence
			if !strings.Contains(v, strings.TrimPrefix(f.value, "… ")) {
				continue
			}
			x.name, x.nameAt = found{ev, v}, n
			x.add(n, "personal.name", "caller", ev, strings.TrimPrefix(f.value, "… "))
			if strings.HasPrefix(f.value, "… ") {
				// The evidence holds the last name only; so does the finding.
				x.out = x.out[:len(x.out)-1]
			}
		}
	}
	for _, m := range personForm.FindAllStringSubmatch(text, -1) {
		x.add(n, "memory.person", "other", m[0], m[2])
	}
	if m := policyForm.FindStringSubmatch(text); m != nil {
		x.add(n, "memory.policy_number", "caller", m[0], strings.Trim(m[1], "-"))
	}
	if p := phoneForm.FindString(text); p != "" {
		if ownPhone.MatchString(text) && !personForm.MatchString(text) {
			x.add(n, "personal.phone", "caller", p, p)
		}
	}
	if e := emailForm.FindString(text); e != "" {
		x.add(n, "personal.email", "caller", e, e)
	}
	if m := addressForm.FindStringSubmatch(text); m != nil && ownAddress.MatchString(text) {
		x.add(n, "personal.address", "caller", m[1], m[1])
	}
	if m := spouseForm.FindStringSubmatch(text); m != nil && isName(m[1]) {
		x.add(n, "family.spouse_name", "spouse", m[0], m[1])
	}
	x.car(n, text)
	x.home(n, text)
	for _, d := range dateForm.FindAllString(text, -1) {
		x.add(n, "memory.date", "caller", d, d)
	}
	if wants.MatchString(text) {
		x.add(n, "memory.request", "caller", shortQuote(text), shortQuote(text))
	}
}

// car finds a vehicle of the caller's own.
func (x *extraction) car(n int, text string) {
	m := carForm.FindStringSubmatch(text)
	if m == nil && !otherDriver.MatchString(text) {
		m = yearMake.FindStringSubmatch(text)
	}
	if m == nil || x.cars >= 2 {
		return
	}
	if i := strings.Index(text, m[0]); otherDriver.MatchString(text[max(0, i-25):i]) {
		return
	}
	x.cars++
	group := "policies.auto_1."
	if x.cars == 2 {
		group = "policies.auto_2."
	}
	ev := strings.TrimSpace(m[0])
	if year := strings.TrimSpace(m[1]); year != "" {
		x.add(n, group+"year", "caller", ev, year)
	}
	x.add(n, group+"make", "caller", ev, m[2])
	if len(m) > 3 && m[3] != "" {
		x.add(n, group+"model", "caller", ev, m[3])
	}
	x.add(n, "memory.vehicle", "caller", ev, strings.TrimSpace(strings.Join(m[1:], " ")))
}

var smallNumbers = map[string]string{"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6"}

// home finds what someone looks for in a house, or has to sell.
func (x *extraction) home(n int, text string) {
	low := strings.ToLower(text)
	for _, w := range []struct{ words, value string }{{"looking to buy", "buyer"}, {"want to buy", "buyer"}, {"buying a", "buyer"}, {"sell my", "seller"}, {"selling my", "seller"}, {"looking to sell", "seller"}} {
		if i := strings.Index(low, w.words); i >= 0 {
			x.add(n, "status.buyer_or_seller", "caller", text[i:i+len(w.words)], w.value)
			break
		}
	}
	if m := budgetForm.FindStringSubmatch(text); m != nil {
		x.add(n, "financing.max_budget", "caller", m[0], m[1])
	}
	if i := strings.Index(low, "pre-approved"); i >= 0 && !strings.Contains(low, "not pre-approved") {
		x.add(n, "financing.pre_approved", "caller", text[i:i+len("pre-approved")], "true")
	}
	for _, r := range []struct {
		form  *regexp.Regexp
		field string
	}{{bedsForm, "properties.property_1.bedrooms"}, {bathsForm, "properties.property_1.bathrooms"}} {
		if m := r.form.FindStringSubmatch(text); m != nil {
			v := strings.ToLower(m[1])
			if d, ok := smallNumbers[v]; ok {
				v = d
			}
			x.add(n, r.field, "caller", m[0], v)
		}
	}
}

func shortQuote(s string) string { return strings.TrimSuffix(shorten(s, 200), "…") }

func (x *extraction) result() findingsDocument {
	all := strings.ToLower(strings.Join(x.said, " "))
	count := func(words ...string) (n int) {
		for _, w := range words {
			n += strings.Count(all, w)
		}
		return n
	}
	d := findingsDocument{Topics: []string{}, Findings: x.out, Sentiment: "neutral", Resolution: "pending"}
	if d.Findings == nil {
		d.Findings = []finding{}
	}
	good, bad := count("thank", "great", "perfect", "wonderful", "appreciate"), count("frustrat", "angry", "ridiculous", "unacceptable", "terrible", "complain", "upset")
	switch {
	case bad > good:
		d.Sentiment = "frustrated"
	case good > 1:
		d.Sentiment = "satisfied"
	case good > bad:
		d.Sentiment = "positive"
	}
	for _, t := range topicForms {
		if t.form.MatchString(all) {
			d.Topics = append(d.Topics, t.topic)
		}
	}
	if goodbyeIn := len(x.said) > 0 && (goodbye.MatchString(x.said[len(x.said)-1]) || strings.Contains(strings.ToLower(x.said[len(x.said)-1]), "thank")); goodbyeIn {
		d.Resolution = "resolved"
	}
	d.Stage, d.StageQuote = x.stage()
	d.Summary = "[simulated] " + x.summary(d.Topics)
	return d
}

// stage is where the caller's own words put the lead.
func (x *extraction) stage() (string, string) {
	for _, s := range stageForms {
		for _, text := range x.said {
			if q := s.form.FindString(text); q != "" {
				return s.stage, q
			}
		}
	}
	return "", ""
}

func (x *extraction) summary(topics []string) string {
	who := x.name.value
	if who == "" {
		who = "The caller"
	}
	about := ""
	if len(topics) > 0 {
		about = " about " + strings.Join(topics[:min(3, len(topics))], ", ")
	}
	longest := ""
	for _, s := range x.said {
		if len(s) > len(longest) {
			longest = s
		}
	}
	if longest == "" {
		return who + " called" + about + "."
	}
	return who + " called" + about + ". In the caller's words: \"" + shorten(longest, 160) + "\""
}

// topicForms are what a call can be about.
var topicForms = []struct {
	topic string
	form  *regexp.Regexp
}{
	{"accident", regexp.MustCompile(`accident|collision|hit my|crash`)},
	{"claim", regexp.MustCompile(`claim`)},
	{"policy", regexp.MustCompile(`policy|coverage`)},
	{"quote", regexp.MustCompile(`quote`)},
	{"address change", regexp.MustCompile(`moving|new address`)},
	{"home search", regexp.MustCompile(`bedroom|apartment|house|looking to buy`)},
	{"selling", regexp.MustCompile(`sell`)},
	{"appointment", regexp.MustCompile(`appointment|schedule|book`)},
	{"payment", regexp.MustCompile(`payment|bill|pay `)},
	{"transfer", regexp.MustCompile(`transfer`)},
	{"weather", regexp.MustCompile(`weather`)},
	{"travel", regexp.MustCompile(`flight|hotel|trip|ride`)},
}

// stageForms are words that put a lead into a stage, the strongest first.
var stageForms = []struct {
	stage string
	form  *regexp.Regexp
}{
	{"Lost", regexp.MustCompile(`(?i)not interested any ?more|going with (?:someone|another)|changed our minds|no longer (?:interested|looking)`)},
	{"Closed/Bound", regexp.MustCompile(`(?i)\bI (?:have )?(?:signed|bought) (?:it|the (?:policy|contract|papers|house))`)},
	{"Application", regexp.MustCompile(`(?i)(?:would like|want|ready) to apply|fill(?:ed)? (?:in|out) the application`)},
	{"Quote Sent", regexp.MustCompile(`(?i)(?:got|received|looked at) (?:the|your) quote`)},
}
