package profile

import (
	"slices"
	"strings"
)

// How surely words introduce a name.
const (
	unnamed = iota
	perhaps // "this is …", "I'm …"
	surely  // "my name is …", or asked for
)

// nameBacked wants a name as the caller gives it: whole words, side by side,
// each part introduced as a name of the caller's own.
func (g *gate) nameBacked(r rule, value string, p place) bool {
	words := hear(value).words
	for len(words) > 0 && titles[words[0].text] {
		words = words[1:]
	}
	if len(words) == 0 || slices.ContainsFunc(words, func(w word) bool { return !nameWord(w.text) }) {
		return false
	}
	quoted := false
	for len(words) > 0 {
		n, in := g.part(r, words, p)
		if n == 0 {
			return false
		}
		quoted, words = quoted || in, words[n:]
	}
	return quoted
}

func nameWord(w string) bool {
	return particles[w] || !empty[w] && !notNames[w] && people[w] == nobody && strings.IndexAny(w, "0123456789") < 0 || len(w) == 1 && w != "a"
}

// part is how many of the words the caller gives as names somewhere in the
// turn, the most there are, and whether the quote has some of them.
func (g *gate) part(r rule, words []word, p place) (n int, quoted bool) {
	for at := range p.words {
		end, matched := p.named(words, at)
		if matched == 0 || matched < n || matched == n && quoted {
			continue
		}
		if g.isOwnName(r, p, at, end) {
			n, quoted = matched, p.quotes(at, end)
		}
	}
	return n, quoted
}

// named matches words of a name with those said from a word on, one of them
// perhaps spelled, and says how far it got.
func (u *utterance) named(words []word, at int) (end, matched int) {
	for end = at; matched < len(words) && end < len(u.words); matched++ {
		w := u.words[end]
		if end > at && w.pause {
			break
		}
		if w.text == words[matched].text && !w.glued {
			end++
			continue
		}
		spelt, stop := u.run(end)
		if _, before := single(u.words[max(0, end-1)]); spelt != words[matched].text || stop-end < 2 || before && end > 0 && end == at {
			break
		}
		end = stop
	}
	return end, matched
}

// isOwnName reports whether the words from one to another are given as the
// caller's name.
func (g *gate) isOwnName(r rule, p place, at, end int) bool {
	if p.denied(at, end, false) {
		return false
	}
	if _, gone := p.takenBack(end, func(w word) bool { return w.capital && w.text != "i" }); gone {
		return false
	}
	next := p.word(end)
	if end < len(p.words) && p.words[end].suffix && next == "s" || next == "who" || next == "whose" {
		return false // "Ann's sister", "Ann who hit me"
	}
	if who, _, far := p.owner(at); !far && who != self && who != nobody {
		return false
	}
	how := g.introduced(r, p, at, end)
	if how == unnamed {
		return false
	}
	_, spelt := p.run(at)
	for i := at; i < end && spelt < end; i++ {
		if w := p.words[i]; !w.capital && !particles[w.text] && (how == perhaps || p.cased && !p.plainEnd(end)) {
			return false
		}
	}
	return how == surely || !p.tagged(at, end)
}

// plainEnd reports whether a name without capitals ends where a clause does:
// "my name is mark and", not "my name is hard to spell".
func (u *utterance) plainEnd(end int) bool {
	return end >= len(u.words) || u.words[end].pause || u.words[end].text == "and" || u.words[end].text == "i"
}

// tagged reports whether "this is Ann" is asked: "This is Ann, right?"
func (u *utterance) tagged(at, end int) bool {
	_, to := u.sentence(at)
	return u.sign(to) == '?' && (u.all(tags, end, to) || u.asks(at))
}

// introduced says how surely what stands before or after words makes them the
// caller's name.
func (g *gate) introduced(r rule, p place, at, end int) int {
	i := at
	for i > 0 && p.words[i].stop == 0 && (titles[p.word(i-1)] || fillers[p.word(i-1)]) {
		i--
	}
	if _, stop := p.run(at); stop == end && end-at > 2 && g.spelling(r, p, at) {
		return surely
	}
	before, earlier := p.word(i-1), p.word(i-2)
	if i == 0 || p.words[i].stop != 0 {
		before = ""
	}
	switch {
	case p.word(end) == "is" && ownWord(p.word(end+1)) && p.word(end+2) == "name":
		return surely
	case (before == "is" || before == "s" || before == "was") && earlier == "name" && p.ownName(i-2):
		return surely
	case before == "name" && (ownWord(earlier) || kindOf[earlier]) && p.ownName(i-1):
		return surely
	case (before == "is" || before == "s") && earlier == "surname":
		return surely
	case (before == "am" || before == "m") && earlier == "i", before == "im", before == "is" && earlier == "this", before == "me" && earlier == "call", before == "by" && earlier == "go":
		return perhaps
	case p.all(opening, 0, at) && g.answers(p, at, r.cues, self):
		return surely
	case greeted[p.word(end)] && p.all(opening, 0, at):
		return perhaps
	case earlier == "it" && (before == "is" || before == "s") && greetings[p.word(0)] && p.all(opening, 0, at):
		return perhaps
	}
	return unnamed
}

// spelling reports whether a name is spelled at a word because it was asked
// for, or because the caller says so.
func (g *gate) spelling(r rule, p place, at int) bool {
	if g.answers(p, at, r.cues, self) {
		return true
	}
	from, _ := p.sentence(at)
	cue, _ := p.says(spelled, from, at)
	named, _ := p.says(r.cues, 0, at)
	return (cue >= 0 || named >= 0) && !p.ofOthers(at)
}

var spelled = phrases("spell|spelled|spelt|that s|that is")

// ownName reports whether the "name" at a word is the caller's: "my last
// name", or a bare one where nobody else was spoken of.
func (u *utterance) ownName(at int) bool {
	i := at - 1
	for i >= 0 && u.words[i+1].stop == 0 && kindOf[u.word(i)] {
		i--
	}
	if i < 0 || u.words[i+1].pause || bare[u.word(i)] {
		who, _, _ := u.owner(at)
		return who == self || who == nobody
	}
	return ownWord(u.word(i))
}

// kinBacked wants the name of the caller's spouse or child: the person spoken
// of before it, named right after it, or asked for.
func (g *gate) kinBacked(r rule, value string, p place) bool {
	words := hear(value).words
	kin := child
	if slices.ContainsFunc(r.cues, func(c phrase) bool { return c[0] == stem("wife") }) {
		kin = spouse
	}
	if len(words) == 0 || slices.ContainsFunc(words, func(w word) bool { return !nameWord(w.text) }) {
		return false
	}
	for at := range p.words {
		end, n := p.named(words, at)
		if n < len(words) || !p.quotes(at, end) || p.cased && !p.words[at].capital || p.denied(at, end, false) {
			continue
		}
		who, _, far := p.owner(at)
		if who == kin && !far || p.isKin(kin, end) || who != another && g.answers(p, at, r.cues, kin) && p.all(opening, 0, at) {
			return true
		}
	}
	return false
}

// isKin reports whether "is my wife" or ", my son" follows.
func (u *utterance) isKin(kin person, at int) bool {
	if u.word(at) == "is" {
		at++
	}
	return ownWord(u.word(at)) && people[u.word(at+1)] == kin
}
