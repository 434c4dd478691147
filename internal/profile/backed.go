package profile

import (
	"math/big"
	"slices"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
)

// backed reports whether the caller's words at a place say a normalised value
// of whom it is about. The quote has to carry some of it; the rest of the turn
// may complete it.
func (g *gate) backed(f events.Field, value, subject string, p place) bool {
	r := ruleOf(f.Path)
	switch group, _, _ := strings.Cut(f.Path, "."); {
	case f.Type == "boolean":
		said, ok := g.affirms(p, r)
		return ok && said == (value == "true")
	case f.Type == "enum", strings.HasPrefix(f.Type, "enum["):
		said, ok := g.affirms(p, rule{meaningOf(value), r.whose})
		return ok && said
	case f.Type == "int", f.Type == "number", f.Type == "float":
		return g.numberBacked(r, value, p)
	case f.Type == "phone":
		return g.phoneBacked(r, value, p)
	case f.Type == "email":
		return g.emailBacked(r, value, p)
	case f.Type == "date":
		return g.dateSaid(r, value, subject, p)
	case f.Path == "personal.name":
		return g.nameBacked(r, value, p)
	case group == "family":
		return g.kinBacked(r, value, p)
	case group == "memory" && !identified(f.Path):
		return freeBacked(r, value, subject, p)
	}
	return g.textBacked(r, value, subject, p)
}

// identified memories hold a name or a number, word for word.
func identified(path string) bool {
	return path == "memory.vehicle" || path == "memory.person" || strings.HasSuffix(path, "number")
}

// affirms reports what the caller says of what the cues name, the last word
// counting, and whether the quote is about it at all. A plain yes or no says
// what the agent asked.
func (g *gate) affirms(p place, r rule) (yes, ok bool) {
	if at, _ := p.says(r.cues, p.from, p.to); at < 0 {
		first := p.word(0)
		if p.from > 0 || !yeses[first] && !noes[first] {
			return false, false
		}
		who, either, asked := g.asked(p.turn, r.cues)
		return yeses[first], asked && !either && who == self
	}
	for at, end := p.says(r.cues, 0, len(p.words)); at >= 0; at, end = p.says(r.cues, 0, end-1) {
		no := p.denied(at, end, false)
		if p.asks(at) || !no && p.denied(at, end, true) || p.ofOthers(at) {
			continue
		}
		return !no, true
	}
	return false, false
}

// ofOthers reports whether what is said at a word is somebody else's.
func (u *utterance) ofOthers(at int) bool {
	who, _, _ := u.owner(at)
	return who != self && who != nobody
}

// asked is whom the agent asked about before a turn of the caller, if what it
// asked for is what the cues name. either: it gave several answers to choose.
func (g *gate) asked(turn int, cues []phrase) (who person, either, ok bool) {
	for turn--; turn >= 0 && g.Turns[turn].Role == events.RoleCaller; {
		turn--
	}
	if turn < 0 {
		return nobody, false, false
	}
	u := g.hear(turn)
	at, _ := u.says(cues, 0, len(u.words))
	if at < 0 {
		return nobody, false, false
	}
	from, to := u.sentence(at)
	who, ok = self, u.sign(to) == '?'
	for _, w := range u.words[from:to] {
		if p := people[w.text]; p != nobody && p != self && w.text != "your" {
			who = p
		}
		ok = ok || asking[w.text]
		either = either || w.text == "or"
	}
	return who, either, ok
}

// answers reports whether the words at a place answer the agent's question for
// what the cues name, asked of that person.
func (g *gate) answers(p place, at int, cues []phrase, of person) bool {
	if who, _, ok := g.asked(p.turn, cues); !ok || who != of {
		return false
	}
	who, _, _ := p.owner(at)
	return who == nobody || who == self || who == of
}

// owned reports whether what is said at a word is whose the rule wants it.
func (g *gate) owned(r rule, p place, at, to int) bool {
	switch r.whose {
	case anyones:
		if len(r.cues) == 0 {
			return true
		}
		from, end := p.sentence(at)
		cue, _ := p.says(r.cues, from, end)
		_, _, asked := g.asked(p.turn, r.cues)
		return cue >= 0 || asked
	case mine:
		return p.isMine(r.cues, at) || g.answers(p, at, r.cues, self)
	case vehicle:
		return p.driven(r.cues, at) || g.answers(p, at, r.cues, self) && !p.ofOthers(at) && !p.collides(to)
	}
	return !p.ofOthers(at)
}

// isMine reports whether "my number", "reach me" or the like leads to a word.
// After "my" the thing must be named at once: "my lawyer" has another number.
func (u *utterance) isMine(cues []phrase, at int) bool {
	who, by, far := u.owner(at)
	if who != self {
		return false
	}
	from, to := u.sentence(at)
	if far {
		if !u.all(opening, from, at) {
			return false
		}
		from, to = u.sentence(by)
	}
	if ownWord(u.words[by].text) {
		from, to = by+1, min(at, by+4)
	}
	cue, _ := u.says(cues, from, to)
	return cue >= 0 || u.words[by].text == "mine"
}

// driven reports whether "my" or "I drive a" stands right before a car.
func (u *utterance) driven(cues []phrase, at int) bool {
	for i := at - 1; i >= max(0, at-6) && u.words[i+1].stop == 0; i-- {
		switch w := u.words[i].text; {
		case ownWord(w):
			return !u.reported(i)
		case people[w] == another || people[w] == spouse || people[w] == child || apart[w] || collided[w]:
			return false
		default:
			if who, _, far := u.owner(i + 1); who == self && !far && slices.ContainsFunc(cues, func(c phrase) bool { return u.means(c, i) }) {
				return !u.collides(at)
			}
		}
	}
	return false
}

// collides reports whether what is named before a word goes on to hit somebody.
func (u *utterance) collides(at int) bool {
	for i := at; i < min(len(u.words), at+7) && u.words[i].stop == 0; i++ {
		w := u.words[i].text
		if w == "and" || w == "i" || w == "we" {
			return false
		}
		if before := u.word(i - 1); collided[w] && before != "was" && before != "were" && before != "got" && before != "been" {
			return true
		}
	}
	return false
}

// figure is a number of a turn, and the words it is.
type figure struct {
	n        *big.Rat
	from, to int
	at, end  int  // as they were before it was corrected, if it is a correction
	gone     bool // taken back
}

func (u *utterance) figures() (out []figure) {
	i := 0
	for _, n := range numbersAt(u.low) {
		for i < len(u.words) && u.words[i].to <= n.from {
			i++
		}
		f := figure{n: n.n, from: i, to: i + 1}
		for f.to < len(u.words) && u.words[f.to].from < n.to {
			f.to++
		}
		f.at, f.end = f.from, f.to
		if k := len(out) - 1; k >= 0 {
			if by, ok := u.takenBack(out[k].to, isNumber); ok && by == f.from {
				f.at, f.end, out[k].gone = out[k].at, out[k].end, true
			}
		}
		out = append(out, f)
	}
	return out
}

func isNumber(w word) bool {
	_, ten := tens[w.text]
	_, one := small[w.text]
	return ten || one || w.text[0] >= '0' && w.text[0] <= '9'
}

// numberBacked wants the number in the quote, or what it counts there. A year
// may be said by its last two digits.
func (g *gate) numberBacked(r rule, value string, p place) bool {
	all := p.figures()
	for i, f := range all {
		same := decimal(f.n) == value
		if r.whose == vehicle {
			same = p.isYear(f, value)
		}
		if !same || f.gone || p.denied(f.from, f.to, false) || !p.counted(r, all, f) || p.ofOthers(f.from) {
			continue
		}
		switch {
		case r.whose == vehicle && g.owned(r, p, f.from, f.to),
			r.whose != vehicle && (len(r.cues) == 0 || nearest(p.utterance, r.cues, all, i)):
			return true
		case r.whose != vehicle && g.answers(p, f.from, r.cues, self) && (p.all(opening, 0, f.from) || onlyOne(all)):
			return true
		}
	}
	return false
}

// counted reports whether the quote has the number, or no other one and what
// the number counts.
func (p place) counted(r rule, all []figure, f figure) bool {
	if p.quotes(f.from, f.to) {
		return true
	}
	cue, _ := p.says(r.cues, p.from, p.to)
	return cue >= 0 && !slices.ContainsFunc(all, func(f figure) bool { return p.quotes(f.from, f.to) })
}

func onlyOne(all []figure) bool {
	n := 0
	for _, f := range all {
		if !f.gone {
			n++
		}
	}
	return n == 1
}

// isYear reports whether a number is that year of a model: in full and with
// the model named after it, or as in "an 09 Civic".
func (u *utterance) isYear(f figure, value string) bool {
	said := u.low[u.words[f.from].from:u.words[f.to-1].to]
	if len(said) == 2 && strings.HasSuffix(value, said) {
		before := u.word(f.from - 1)
		return (before == "a" || before == "an" || before == "the" || ownWord(before)) && u.capitalAt(f.to)
	}
	if decimal(f.n) != value || len(value) != 4 {
		return false
	}
	for i := f.to; i < min(len(u.words), f.to+3) && u.words[i].stop == 0; i++ {
		if w := u.words[i]; w.capital || !u.cased && !empty[w.text] && !units[u.word(f.to)] {
			return true
		}
	}
	cue, _ := u.says(vehicleWords, max(0, f.from-4), min(len(u.words), f.to+4))
	return cue >= 0
}

var vehicleWords = phrases("car|vehicle|truck|van|suv|sedan|model|year")

// nearest reports whether number i is the one nearest to a cue of its
// sentence; of two the one before it.
func nearest(u *utterance, cues []phrase, all []figure, i int) bool {
	from, to := u.sentence(all[i].at)
	for at, end := u.says(cues, from, to); at >= 0; at, end = u.says(cues, from, end-1) {
		best, least := -1, 1<<30
		for k, f := range all {
			if f.gone || f.at < from || f.at >= to {
				continue
			}
			away, a, b := 2*(at-f.end), f.end, at
			if f.at >= end {
				away, a, b = 2*(f.at-end)+1, end, f.at
			}
			for ; a <= b && a < len(u.words); a++ {
				if u.words[a].pause {
					away += 8
				}
			}
			if away < least {
				best, least = k, away
			}
		}
		if best == i {
			return true
		}
	}
	return false
}

// phoneBacked wants all digits of the number in one go, and no others with
// them. Without its country a number is of North America.
func (g *gate) phoneBacked(r rule, value string, p place) bool {
	for at := 0; at < len(p.words); at++ {
		said, end := p.dialled(at)
		if end == at {
			continue
		}
		plus := p.word(at-1) == "plus" || p.words[at].from > 0 && p.low[p.words[at].from-1] == '+'
		same := said == value[1:] && (plus || value[1] == '1') || !plus && "1"+said == value[1:] ||
			said == "00"+value[1:] || said == "011"+value[1:]
		_, gone := p.takenBack(end, func(w word) bool { return digits(w) != "" })
		if same && !gone && p.quotes(at, end) && !p.denied(at, end, false) && g.owned(r, p, at, end) {
			return true
		}
		at = end - 1
	}
	return false
}

// dialled are the digits said one after another from a word on.
func (u *utterance) dialled(at int) (said string, end int) {
	var b strings.Builder
	times := 1
	end = at
	for i := at; i < len(u.words) && (i == at || u.words[i].stop == 0); i++ {
		w := u.words[i]
		d := digits(w)
		switch n := repeats[w.text]; {
		case n > 0:
			times = n
		case d == "" && (i == at || !fillers[w.text] && w.text != "and" && w.text != "then"):
			return b.String(), end
		case d != "":
			b.WriteString(strings.Repeat(d, times))
			times, end = 1, i+1
		}
	}
	return b.String(), end
}

// emailBacked wants the whole address: "lee@example.com" is not what somebody
// says who says "ann dot lee at example dot com". Letters may be spelled.
func (g *gate) emailBacked(r rule, value string, p place) bool {
	local, domain, _ := strings.Cut(value, "@")
	for i := 1; i < len(p.words); i++ {
		name, host := i-1, i
		if gap := p.gap(i); gap != "@" {
			if p.words[i].text != "at" || i+1 == len(p.words) {
				continue
			}
			host = i + 1
		}
		from, ok := p.localPart(local, name, r.cues)
		end := p.domain(domain, host)
		if ok && end > 0 && p.quotes(from, end) && !p.denied(from, end, false) && g.owned(r, p, from, end) {
			return true
		}
	}
	return false
}

// gap is what stands between a word and the one before.
func (u *utterance) gap(at int) string { return u.low[u.words[at-1].to:u.words[at].from] }

// joined is the sign that ties the word at to the one before it, and where
// that begins; ok is false where none does. Letters spelled are tied by none.
func (u *utterance) joined(at int) (sign string, before int, ok bool) {
	if at == 0 {
		return "", 0, false
	}
	gap := u.gap(at)
	switch {
	case gap == "" || gap == "." || gap == "_" || gap == "-" || gap == "+" || gap == "%":
		return gap, at - 1, true
	case symbols[u.words[at-1].text] != "" && at > 1:
		return symbols[u.words[at-1].text], at - 2, true
	}
	_, one := single(u.words[at])
	_, other := single(u.words[at-1])
	return "", at - 1, one && other && gap == " "
}

// localPart is where an address begins whose last word before the @ is at.
// Words that nothing ties together may be one: "ann lee at example dot com".
func (u *utterance) localPart(want string, at int, cues []phrase) (from int, ok bool) {
	text := u.letters(at)
	for {
		sign, before, tied := u.joined(at)
		if !tied {
			if text == want {
				return at, true
			}
			if at == 0 || u.gap(at) != " " || empty[u.word(at-1)] || opening[u.word(at-1)] ||
				slices.ContainsFunc(cues, func(c phrase) bool { return u.means(c, at-1) }) {
				return 0, false
			}
			before = at - 1
		}
		at, text = before, u.letters(before)+sign+text
	}
}

// domain is where the host of an address ends that begins at a word; 0 where
// it is another.
func (u *utterance) domain(want string, at int) int {
	text := u.letters(at)
	for {
		next := at + 1
		if next < len(u.words) && symbols[u.words[next].text] != "" && u.gap(next) == " " {
			next++
		}
		if next >= len(u.words) {
			break
		}
		sign, before, tied := u.joined(next)
		if !tied || before != at {
			break
		}
		at, text = next, text+sign+u.letters(next)
	}
	if text != want {
		return 0
	}
	return at + 1
}

// letters are a word's part of an address.
func (u *utterance) letters(at int) string {
	if s, ok := single(u.words[at]); ok {
		return s
	}
	return u.words[at].text
}

// dateSaid wants the date in the quote.
func (g *gate) dateSaid(r rule, value, subject string, p place) bool {
	text := p.low[p.words[p.from].from:p.words[p.to-1].to]
	if !g.dateBacked(value, text) {
		return false
	}
	at := p.from
	for at < p.to-1 && !isNumber(p.words[at]) && (len(p.word(at)) < 3 || monthOf(p.word(at)) == 0) {
		at++
	}
	who, _, _ := p.owner(at)
	if who == another || subject == "caller" && who != self && who != nobody {
		return false
	}
	return !p.denied(at, p.to, false) && (len(r.cues) == 0 || g.owned(rule{r.cues, anyones}, p, at, p.to))
}

// dateBacked allows for years and weeks that were not said.
func (g *gate) dateBacked(value, text string) bool {
	for _, m := range g.datesIn(text) {
		if m.value("") == value || m.yearless && m.day.Format("--01-02") == value {
			return true
		}
		day, err := time.Parse(time.DateOnly, value)
		if err != nil {
			continue
		}
		if m.yearless && day.Format("01-02") == m.day.Format("01-02") && abs(day.Year()-g.StartedAt.Year()) <= 1 {
			return true
		}
		if m.weekday && day.Weekday() == m.day.Weekday() && day.Sub(m.day).Abs() <= 14*24*time.Hour {
			return true
		}
	}
	return false
}

func abs(n int) int { return max(n, -n) }
