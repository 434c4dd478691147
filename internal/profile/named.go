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
	initial := len(w) == 1 && w != "a"
	return w[0] > '9' && (initial || !empty[w] && !notNames[w] && people[w] == nobody)
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
	next := p.word(end)
	if p.denied(at, end, false) || next == "s" && p.words[end].suffix || next == "who" { // "Ann's sister", "Ann who hit me"
		return false
	}
	if _, gone := p.takenBack(end, func(w word) bool { return w.capital && w.text != "i" }); gone {
		return false
	}
	if who, _, far := p.owner(at); !far && who != self && who != nobody {
		return false
	}
	how := g.introduced(r, p, at, end)
	small := func(w word) bool { return !w.capital && !particles[w.text] }
	if _, spelt := p.run(at); spelt < end && slices.ContainsFunc(p.words[at:end], small) && (how == perhaps || p.cased && !p.plainEnd(end)) {
		return false
	}
	return how == surely || how == perhaps && !p.tagged(at, end)
}

// plainEnd reports whether a name without capitals ends where a clause does:
// "my name is mark and", not "my name is hard to spell".
func (u *utterance) plainEnd(end int) bool {
	return end >= len(u.words) || u.words[end].pause || u.words[end].text == "and"
}

// tagged reports whether "this is Ann" is asked: "This is Ann, right?"
func (u *utterance) tagged(at, end int) bool {
	_, to := u.sentence(at)
	return u.sign(to) == '?' && u.all(tags, end, to)
}

// introduced says how surely what stands before or after words makes them the
// caller's name.
func (g *gate) introduced(r rule, p place, at, end int) int {
	from, _ := p.sentence(at)
	to := at
	for to > from && (titles[p.word(to-1)] || fillers[p.word(to-1)]) {
		to--
	}
	leads := func(ps []phrase) bool {
		return slices.ContainsFunc(ps, func(c phrase) bool { return to-len(c) >= from && p.means(c, to-len(c)) })
	}
	first := p.all(opening, 0, at)
	switch {
	case leads(namings) && p.ownName(to-1),
		p.word(end) == "is" && ownWord(p.word(end+1)) && p.word(end+2) == "name",
		first && g.answers(p, at, r.cues, self):
		return surely
	case leads(introductions),
		first && presenting[p.word(end)],             // "Ann Lee here"
		first && greetings[p.word(0)] && leads(itIs): // "Hi, it's Ann"
		return perhaps
	}
	return unnamed
}

// ownName reports whether the "name is" that ends at a word is said of the
// caller's: "my last name is", or a bare one where nobody else was spoken of.
func (u *utterance) ownName(at int) bool {
	from, _ := u.sentence(at)
	for at > from && !strings.HasSuffix(u.word(at), "name") {
		at--
	}
	for at--; at >= from && kindOf[u.word(at)]; {
		at--
	}
	if at < from || u.words[at+1].pause || bare[u.word(at)] {
		who, _, _ := u.owner(at + 1)
		return who == self || who == nobody
	}
	return ownWord(u.word(at))
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
		if who == kin && !far || p.isKin(kin, end) || who == nobody && g.answers(p, at, r.cues, kin) {
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
