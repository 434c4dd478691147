package simulated

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strconv"
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
	aPhone   = `\+?\(?\b[0-9]{3}\)?[-. ]?[0-9]{3}[-. ]?[0-9]{4}\b|\b[0-9]{3}-[0-9]{4}\b`
	nameForm = `(` + nameWord + `(?: ` + nameWord + `){0,2})`
)

var (
	ownNameForm  = regexp.MustCompile(`\b(?:[Mm]y (?:full |first )?name is|[Mm]y name's|[Tt]his is|[Ii]t is|[Ii]t's|I am|I'm|[Nn]ame is) ` + nameForm)
	lowNameForm  = regexp.MustCompile(`\b[Mm]y (?:full )?name is ([a-z]+(?: [a-z]+){0,2}?)(?: and\b|[.,!]|$)`)
	lastNameForm = regexp.MustCompile(`(?i)\bmy last name is ([a-z'-]+)`)
	bareName     = regexp.MustCompile(`^(?:(?:Yes|Sure|Of course|Okay|Ok)[,.!]? )?(?:It's |it's )?` + nameForm + `[.,!]?(?:$|,? and )`)
	askedName    = regexp.MustCompile(`(?i)\b(your|full|first and last) (full )?name\b`)
	policyForm   = regexp.MustCompile(`(?i)\b(?:policy|account|claim)(?: number)?(?: is| is:|:)? ?#?([A-Z]{0,4}-?[0-9][A-Z0-9-]{2,})`)
	phoneForm    = regexp.MustCompile(aPhone)
	ownPhone     = regexp.MustCompile(`(?i)\b(?:my (?:phone |cell |mobile |callback )?number|reach me|call me)\b[^.;!?]*?(` + aPhone + `)`)
	emailForm    = regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}`)
	carForm      = regexp.MustCompile(`\b(?:[Mm]y|I (?:drive|own|have|was driving)) (?:a |an |in my |my )?(?:[a-z]+ )?((?:19|20)[0-9]{2} )?(` + makes + `)(?: ([A-Z0-9][A-Za-z0-9-]+))?`)
	yearMake     = regexp.MustCompile(`\b((?:19|20)[0-9]{2}) (` + makes + `)(?: ([A-Z0-9][A-Za-z0-9-]+))?`)
	ownAddress   = regexp.MustCompile(`\b(?:[Mm]y (?:new |home )?address|(?:I|[Ww]e) live|[Mm]oving to|[Mm]oved to)\b[^.;!?]*?\b([0-9]{1,5} (?:[A-Z][a-z]+ ){1,3}(?:Street|St|Avenue|Ave|Road|Rd|Drive|Dr|Lane|Ln|Court|Ct|Boulevard|Blvd|Way|Place))\b`)
	spouseForm   = regexp.MustCompile(`\b[Mm]y (?:wife|husband|spouse)(?:'s name is|,)? (` + nameWord + `)`)
	budgetForm   = regexp.MustCompile(`(?i)\bbudget (?:is|of|around|about|up to)?(?: about| around)? ?(\$?[0-9][0-9,.]*(?: ?(?:k|thousand|million))?)`)
	approvedForm = regexp.MustCompile(`(?i)\bpre-approved\b`)
	makeForm     = regexp.MustCompile(`\b(?:` + makes + `)\b`)
	bedsForm     = regexp.MustCompile(`(?i)\b(one|two|three|four|five|six|[1-9])[- ]bed(?:room)?s?\b`)
	bathsForm    = regexp.MustCompile(`(?i)\b(one|two|three|four|[1-9](?:\.5)?)[- ]bath(?:room)?s?\b`)
	dateForm     = regexp.MustCompile(`\b(?:(?:January|February|March|April|May|June|July|August|September|October|November|December) [0-9]{1,2}(?:st|nd|rd|th)?(?:,? [0-9]{4})?|[0-9]{1,2}/[0-9]{1,2}/[0-9]{2,4}|(?:on |by |next )(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday))\b`)
	personForm   = regexp.MustCompile(`\b(?:[Hh]is|[Hh]er|[Tt]heir|[Tt]he (?:other )?(?:driver|witness)(?:'s)?) (?:full |first )?name (?:is|was) ` + nameForm)
)

// Whose a thing is, and whether it is so, is said before it.
var (
	personWord = regexp.MustCompile(`(?i)\b(?:(I|my|me|mine|we|our|us)|he|she|him|his|hers?|they|them|theirs?|whose|` +
		`(?:wife|husband|spouse|partner|son|daughter|mother|mama|mommie|mom|father|dad|brother|sister|aunt|uncle|cousin|friend|neighbou?r|host|boss|` +
		`landlord|driver|witness|passenger|guy|man|woman|lady|lawyer|attorney|doctor|agent|officer|mechanic)s?|someone|somebody|` +
		`(?:the other|another) (?:car|vehicle|party|one)|(?:hit|struck) by an?)\b`)
	reportForm = regexp.MustCompile(`(?i)\b(?:said|says|told (?:me|us|him|her))(?: that)?[:,]? ["“]?$`)
	denialWord = regexp.MustCompile(`(?i)\b(?:not|never|no longer|cannot|without)\b|n['’]t\b`)
	tagForm    = regexp.MustCompile(`^(?:,? (?:right|correct|is it|I'm (?:speaking|talking) (?:with|to)))?\?`)
	newClause  = regexp.MustCompile(`(?i).*\b(?:and|but) (?:I|my|we|our)\b`)
	possessive = regexp.MustCompile(`['’]s $`)
	noPerson   = regexp.MustCompile(`^(?:['’]s\b| (?:who|of)\b)`) // follows a name that is not the speaker's
)

// beforeIn is the part of a sentence, or clause, before at.
func beforeIn(text string, at int, ends string) string {
	from := 0
	for i := range at {
		if strings.IndexByte(ends, text[i]) >= 0 && (i+1 == len(text) || text[i+1] == ' ') {
			from = i + 1
		}
	}
	return text[from:at]
}

// isOthers reports whether the person spoken of last before at is not the
// caller.
func isOthers(text string, at int) bool {
	all := personWord.FindAllStringSubmatch(beforeIn(text, at, ".!?;"), -1)
	return len(all) > 0 && all[len(all)-1][1] == ""
}

func isDenied(text string, at int) bool {
	before := beforeIn(text, at, ".!?;,")
	return denialWord.MatchString(before[len(newClause.FindString(before)):])
}

// own is the first match of a form whose value, the first group, the caller
// says of himself and does not deny; nil where none is.
func own(form *regexp.Regexp, text string) []string {
	for _, m := range form.FindAllStringSubmatchIndex(text, -1) {
		at := m[0]
		for i := 2; i < len(m) && at == m[0]; i += 2 {
			at = max(at, m[i])
		}
		if isOthers(text, at) || isDenied(text, at) {
			continue
		}
		groups := make([]string, len(m)/2)
		for i := range groups {
			if m[2*i] >= 0 {
				groups[i] = text[m[2*i]:m[2*i+1]]
			}
		}
		return groups
	}
	return nil
}

const makes = `Acura|Audi|BMW|Buick|Cadillac|Chevrolet|Chevy|Chrysler|Dodge|Fiat|Ford|Genesis|GMC|Honda|Hyundai|Infiniti|Jaguar|Jeep|Kia|Lexus|Lincoln|Mazda|Mercedes|Mini|Mitsubishi|Nissan|Porsche|Ram|Rivian|Subaru|Tesla|Toyota|Volkswagen|Volvo`

// notNames begin sentences after "this is", "I'm" and the like.
var notNames = setOf(`The A An Not Sorry Just In At On Calling Okay Fine Yes No So Very Really Going Looking Sure Good Great My I It That There We
	Hello Hi Thank Thanks And Also Well Correct Right Now Main Interstate Highway Route Yeah Dr Mr Mrs Ms
	Monday Tuesday Wednesday Thursday Friday Saturday Sunday
	American Canadian Mexican British English Irish Scottish French German Italian Spanish Chinese Japanese Indian Korean Russian`)

// notLowNames follow "my name is" and are no names.
var notLowNames = setOf(`not on in at spelled misspelled wrong missing different listed the a an hard easy long short still also just what`)

var adjective = regexp.MustCompile(`(?:ous|able|ible|ful|less)$`)

func setOf(words string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(words) {
		out[w] = true
	}
	return out
}

func isName(w string) bool {
	return len(w) > 1 && w[0] >= 'A' && w[0] <= 'Z' && !notNames[w] && !strings.HasPrefix(w, "I'") && !adjective.MatchString(w)
}

// nameIn finds how a caller names himself. asked: the agent has just asked for
// the name, so that a bare name is one.
func nameIn(text string, asked bool) (out []found) {
	for _, m := range ownNameForm.FindAllStringSubmatchIndex(text, -1) {
		name := trimName(text[m[2]:m[3]])
		end := m[2] + len(name)
		if name != "" && introduces(text, m[0], m[2], asked) && !tagForm.MatchString(text[end:]) && !noPerson.MatchString(text[end:]) {
			out = append(out, found{text[m[0]:end], name})
		}
	}
	if m := own(lowNameForm, text); m != nil && len(out) == 0 {
		words := strings.Fields(m[1])
		for i, w := range words {
			if notLowNames[w] {
				return out
			}
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
		out = append(out, found{strings.TrimRight(m[0], ".,! "), strings.Join(words, " ")})
	}
	if m := own(lastNameForm, text); m != nil {
		out = append(out, found{m[0], "… " + strings.ToUpper(m[1][:1]) + m[1][1:]})
	}
	if len(out) == 0 && asked {
		if m := bareName.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
			if name := trimName(m[1]); strings.Contains(name, " ") && !makeForm.MatchString(name) {
				out = append(out, found{name, name})
			}
		}
	}
	return out
}

// introduces reports whether the words from one to another introduce the caller.
func introduces(text string, from, to int, asked bool) bool {
	switch intro := strings.ToLower(text[from:to]); intro[:2] {
	case "my", "i ", "i'": // the caller's own words, or another's that he repeats
		return !reportForm.MatchString(text[:from])
	case "it": // may be anything that was asked
		return (asked || from <= 12) && !isOthers(text, from)
	case "na": // "name is": nobody else's, not even a pet's
		return !possessive.MatchString(text[:from]) && !isOthers(strings.Map(inOneSentence, text), from)
	}
	return !isOthers(text, from)
}

func inOneSentence(r rune) rune {
	if strings.ContainsRune(".!?;", r) {
		return ','
	}
	return r
}

// trimName drops what is no name from both ends.
func trimName(s string) string {
	words := strings.Fields(s)
	for i, w := range words {
		if short, ok := strings.CutSuffix(w, "'s"); ok { // left to see that it is another's
			words[i] = short
			return strings.Join(words[:i+1], " ")
		}
		if !isName(w) {
			return strings.Join(words[:i], " ")
		}
	}
	return strings.Join(words, " ")
}

// better joins what was learnt of a name before with what is said now.
func better(have string, f found) string {
	now := f.value
	if last, ok := strings.CutPrefix(now, "… "); ok {
		first, _, _ := strings.Cut(have, " ")
		return strings.TrimSpace(first + " " + last)
	}
	first, _, full := strings.Cut(now, " ")
	had, _, _ := strings.Cut(have, " ")
	switch {
	case full && strings.EqualFold(f.evidence[:2], "my"), have == had:
		return now // said outright, or nothing fuller known
	case full && first == had:
		return now
	}
	return have // a first name adds nothing to a full one
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
	name   string
	cars   []string // makes and models
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
		if v := better(x.name, f); v != x.name {
			x.name = v
			if !strings.HasPrefix(f.value, "… ") { // the evidence of a last name has no first
				x.add(n, "personal.name", "caller", f.evidence, f.value)
			}
		}
	}
	for _, m := range personForm.FindAllStringSubmatch(text, -1) {
		x.add(n, "memory.person", "other", m[0], m[1])
	}
	if m := own(policyForm, text); m != nil {
		x.add(n, "memory.policy_number", "caller", m[0], strings.Trim(m[1], "-"))
	}
	if m := own(ownPhone, text); m != nil {
		x.add(n, "personal.phone", "caller", m[1], m[1])
	}
	if m := own(emailForm, text); m != nil {
		x.add(n, "personal.email", "caller", m[0], m[0])
	}
	if m := own(ownAddress, text); m != nil {
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
	m := own(carForm, text)
	if m == nil {
		m = own(yearMake, text)
	}
	if m == nil || len(x.cars) == 2 || slices.Contains(x.cars, m[2]+m[3]) {
		return
	}
	x.cars = append(x.cars, m[2]+m[3])
	group := "policies.auto_" + strconv.Itoa(len(x.cars)) + "."
	ev := strings.TrimSpace(m[0])
	if year := strings.TrimSpace(m[1]); year != "" {
		x.add(n, group+"year", "caller", ev, year)
	}
	x.add(n, group+"make", "caller", ev, m[2])
	if m[3] != "" {
		x.add(n, group+"model", "caller", ev, m[3])
	}
	x.add(n, "memory.vehicle", "caller", ev, strings.TrimSpace(strings.Join(m[1:], " ")))
}

var sides = []struct {
	form *regexp.Regexp
	side string
}{
	{regexp.MustCompile(`(?i)\b(?:looking to buy|want to buy|buying a)\b`), "buyer"},
	{regexp.MustCompile(`(?i)\b(?:sell my|selling my|looking to sell)\b`), "seller"},
}

var smallNumbers = map[string]string{"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6"}

// home finds what someone looks for in a house, or has to sell.
func (x *extraction) home(n int, text string) {
	for _, w := range sides {
		if m := own(w.form, text); m != nil {
			x.add(n, "status.buyer_or_seller", "caller", m[0], w.side)
			break
		}
	}
	if m := own(budgetForm, text); m != nil {
		x.add(n, "financing.max_budget", "caller", m[0], m[1])
	}
	if m := own(approvedForm, text); m != nil {
		x.add(n, "financing.pre_approved", "caller", m[0], "true")
	}
	for _, r := range []struct {
		form  *regexp.Regexp
		field string
	}{{bedsForm, "properties.property_1.bedrooms"}, {bathsForm, "properties.property_1.bathrooms"}} {
		if m := own(r.form, text); m != nil {
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
			if m := own(s.form, text); m != nil {
				return s.stage, m[0]
			}
		}
	}
	return "", ""
}

func (x *extraction) summary(topics []string) string {
	who := x.name
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
