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
	if !english(g.Turns[p.turn].Lang) {
		return p.verbatim(f, value)
	}
	r := ruleOf(f.Path)
	switch group, _, _ := strings.Cut(f.Path, "."); {
	case f.Type == "boolean":
		said, ok := g.affirms(p, r)
		return ok && said == (value == "true")
	case f.Type == "enum", strings.HasPrefix(f.Type, "enum["):
		said, ok := g.affirms(p, rule{cues: meaningOf(value)})
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
	case strings.HasSuffix(f.Path, "number"), strings.HasSuffix(f.Path, ".vin"):
		id := strings.ReplaceAll(fold(value), " ", "")
		return g.textBacked(r, subject, p, func(at int) int { return p.identifies(id, at) })
	case group == "memory" && !r.verbatim:
		return freeBacked(r, value, subject, p)
	}
	words := hear(value).words
	return g.textBacked(r, subject, p, func(at int) int { return p.matches(words, at) })
}

func english(lang string) bool {
	primary, _, _ := strings.Cut(lang, "-")
	return primary == "" || strings.EqualFold(primary, "en")
}

// verbatim reports whether the quote has the value as it is: all that can be
// told where the words around it cannot be read.
func (p place) verbatim(f events.Field, value string) bool {
	if f.Type == "phone" {
		said := ""
		for _, w := range p.words[p.from:p.to] {
			said += digits(w)
		}
		return len(said) >= 7 && strings.HasSuffix(digitsIn(value), said)
	}
	words := hear(value).words
	at := p.find(words, p.from)
	return at >= 0 && at+len(words) <= p.to
}

// holds reports whether the words from one to another, some of them quoted,
// are said of whom the rule wants, and not denied.
func (g *gate) holds(r rule, p place, at, end int) bool {
	return p.quotes(at, end) && !p.denied(at, end, false) && g.owned(r, p, at)
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
	return who == nobody || who == self
}

// owned reports whether what is said from a word on is whose the rule wants it.
func (g *gate) owned(r rule, p place, at int) bool {
	switch r.whose {
	case anyones:
		from, to := p.sentence(at)
		cue, _ := p.says(r.cues, from, to)
		_, _, asked := g.asked(p.turn, r.cues)
		return len(r.cues) == 0 || cue >= 0 || asked
	case mine:
		return p.isMine(r.cues, at) || g.answers(p, at, r.cues, self)
	case driven:
		return p.isDriven(r.cues, at) || p.parted(at) || g.answers(p, at, r.cues, self)
	}
	return !p.ofOthers(at)
}

// isMine reports whether "my number", "reach me" or the like leads to a word.
// After "my" the thing must be named at once: "my account" has another number.
func (u *utterance) isMine(cues []phrase, at int) bool {
	who, by, far := u.owner(at)
	from, to := u.sentence(by)
	switch {
	case who != self:
		return false
	case far: // "Here's my number. It's …"
		if from, _ = u.sentence(at); !u.all(opening, from, at) {
			return false
		}
		from = by
	case ownWord(u.word(by)):
		from, to = by, min(at, by+4)
	default:
		to = at
	}
	cue, _ := u.says(cues, from, to)
	return cue >= 0 || u.word(by) == "mine"
}

// isDriven reports whether "my" or "I drive a" leads straight to a car.
func (u *utterance) isDriven(cues []phrase, at int) bool {
	who, by, far := u.owner(at)
	if who != self || far {
		return false
	}
	for i := at - 1; i >= max(by, at-8) && !apart[u.word(i)]; i-- {
		if ownWord(u.word(i)) || slices.ContainsFunc(cues, func(c phrase) bool { return u.means(c, i) }) {
			return true
		}
	}
	return false
}

// given reports whether the quote says of a value that the caller has parted
// with it.
func (p place) given(value string) bool {
	for _, w := range hear(value).words {
		for at := p.from; at < p.to; at++ {
			if p.word(at) == w.text && p.parted(at) {
				return true
			}
		}
	}
	return false
}

// parted reports whether "I sold", "we traded in" or the like leads straight to
// a word.
func (u *utterance) parted(at int) bool {
	for i := at - 1; i >= max(0, at-8) && u.words[i+1].stop == 0 && u.word(i) != "and" && u.word(i) != "but"; i-- {
		if !parting[u.word(i)] {
			continue
		}
		for i--; i >= 0 && meanwhile[u.word(i)]; i-- {
		}
		return i >= 0 && (u.word(i) == "i" || u.word(i) == "we")
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

// numberBacked wants the number in the quote, and next to it or in the agent's
// question what it counts. A year may be said by its last two digits.
func (g *gate) numberBacked(r rule, value string, p place) bool {
	all := p.figures()
	return slices.ContainsFunc(all, func(f figure) bool {
		if f.gone || !p.quotes(f.from, f.to) {
			return false
		}
		said := decimal(f.n) == value
		asked := said && (p.all(opening, 0, f.at) || len(all) == 1) && p.alone(f) && g.answers(p, f.from, r.cues, self)
		if r.whose == driven {
			said = p.isYear(f, value)
		} else {
			said = said && p.counts(f, all, r.cues)
		}
		return (asked || said) && g.holds(r, p, f.from, f.to)
	})
}

// isYear reports whether a number is that year of a model: in full and with
// the model named next to it, or as in "an 09 Civic".
func (u *utterance) isYear(f figure, value string) bool {
	if said := u.low[u.words[f.from].from:u.words[f.to-1].to]; len(said) == 2 && strings.HasSuffix(value, said) {
		return articles[u.word(f.from-1)] && u.capitalAt(f.to)
	}
	named := slices.ContainsFunc(u.words[f.to:min(len(u.words), f.to+3)], func(w word) bool { return w.capital })
	cue, _ := u.says(vehicleWords, max(0, f.from-4), f.to+4)
	return decimal(f.n) == value && (named || cue >= 0 || !u.cased && !u.alone(f))
}

// alone reports whether no other word says what a number counts.
func (u *utterance) alone(f figure) bool {
	w := u.word(f.to)
	return w == "" || u.words[f.to].pause || empty[w] || opening[w] || units[w]
}

// counts reports whether a number is the one nearest to a cue of its sentence;
// of two the one before it. A pause is as far as four words.
func (u *utterance) counts(f figure, all []figure, cues []phrase) bool {
	from, to := u.sentence(f.at)
	for at, end := u.says(cues, from, to); at >= 0; at, end = u.says(cues, from, end-1) {
		away := func(f figure) int {
			if f.at >= end {
				return 2*(f.at-end) + 8*u.pauses(end, f.at) + 1
			}
			return 2*(at-f.end) + 8*u.pauses(f.end, at)
		}
		nearer := func(o figure) bool { return !o.gone && o.at >= from && o.at < to && away(o) < away(f) }
		if !slices.ContainsFunc(all, nearer) {
			return true
		}
	}
	return false
}

// pauses are the commas from the gap before one word to that before another.
func (u *utterance) pauses(from, to int) (n int) {
	for i := from; i <= to && i < len(u.words); i++ {
		if u.words[i].pause {
			n++
		}
	}
	return n
}

// phoneBacked wants all digits of the number in one go, and no others with
// them. Without its country a number is of North America.
func (g *gate) phoneBacked(r rule, value string, p place) bool {
	for at := 0; at < len(p.words); at++ {
		said, end := p.dialled(at)
		if end == at {
			continue
		}
		plus := at > 0 && (p.word(at-1) == "plus" || strings.HasSuffix(p.gap(at), "+")) || strings.HasPrefix(p.low, "+")
		switch {
		case plus:
		case strings.HasPrefix(said, "011"), strings.HasPrefix(said, "00"):
			said = strings.TrimLeft(said, "01")
		case len(said) == 10:
			said = "1" + said
		}
		_, gone := p.takenBack(end, isNumber)
		if said == value[1:] && !gone && g.holds(r, p, at, end) {
			return true
		}
		at = end - 1
	}
	return false
}

// dialled are the digits said one after another from a word on.
func (u *utterance) dialled(at int) (said string, end int) {
	times := 1
	end = at
	for i := at; i < len(u.words) && (i == at || u.words[i].stop == 0); i++ {
		w := u.words[i]
		d := digits(w)
		switch n := repeats[w.text]; {
		case n > 0:
			times = n
		case d != "":
			said += strings.Repeat(d, times)
			times, end = 1, i+1
		case i == at || !fillers[w.text]:
			return said, end
		}
	}
	return said, end
}

// emailBacked wants the whole address: "lee@example.com" is not what somebody
// says who says "ann dot lee at example dot com". Letters may be spelled, and
// "ann lee" may be one word.
func (g *gate) emailBacked(r rule, value string, p place) bool {
	for at := range p.words {
		if p.tied(at) || !p.beginsAddress(r, at) {
			continue
		}
		if end := p.address(value, at); end > 0 && g.holds(r, p, at, end) {
			return true
		}
	}
	return false
}

// beginsAddress reports whether a word is none that leads to an address.
func (u *utterance) beginsAddress(r rule, at int) bool {
	w := u.word(at)
	small := empty[w] || opening[w] || slices.ContainsFunc(r.cues, func(c phrase) bool { return u.means(c, at) })
	return !small || at+1 < len(u.words) && (u.tied(at+1) || symbols[u.word(at+1)] != "")
}

// tied reports whether a sign, written or said, or spelling makes a word go on
// with the one before it. "At" ties nothing: it also leads to an address.
func (u *utterance) tied(at int) bool {
	if at == 0 {
		return false
	}
	gap, before := u.gap(at), u.words[at-1]
	_, one := single(u.words[at])
	_, other := single(before)
	return strings.Trim(gap, "@._%+-") == "" || gap == " " && (one && other || symbols[before.text] != "" && before.text != "at")
}

// gap is what stands between a word and the one before.
func (u *utterance) gap(at int) string { return u.low[u.words[at-1].to:u.words[at].from] }

// address is where the e-mail address ends that begins at a word; 0 where it
// is another than the one wanted.
func (u *utterance) address(want string, at int) int {
	text, end := "", at
	for ; end < len(u.words) && strings.HasPrefix(want, text); end++ {
		w := u.words[end]
		sign := symbols[w.text]
		if end > at {
			gap, host := u.gap(end), strings.Contains(text, "@")
			loose := sign == "" && !u.tied(end)
			if strings.Trim(gap, "@._%+-") == "" {
				text += gap
			} else if gap != " " || host && (sign == "@" || loose && u.word(end-1) != "at") || loose && !u.beginsAddress(rule{}, end) {
				break
			}
		}
		if letter, ok := single(w); ok {
			sign = letter
		} else if sign == "" {
			sign = w.text
		}
		text += sign
	}
	if text != want {
		return 0
	}
	return end
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
	return !p.denied(at, p.to, false) && g.owned(rule{cues: r.cues, whose: anyones}, p, at)
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
