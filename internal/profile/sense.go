package profile

import "strings"

// What a sentence says of a word in it: whom it is about, and whether it is so.

// owner is whom the words before a word speak of: the person named nearest to
// its left, in its sentence or, far, in one before it.
func (u *utterance) owner(at int) (who person, by int, far bool) {
	for by = at - 1; by >= 0; by-- {
		far = far || u.words[by+1].stop != 0
		if who = u.person(by); who != nobody {
			return who, by, far
		}
	}
	return nobody, -1, far
}

// person is who a word names, seen among its neighbours.
func (u *utterance) person(at int) person {
	w := u.words[at]
	next := u.word(at + 1)
	who := people[w.text]
	switch {
	case w.text == "you" && saying[next], (w.text == "other" || w.text == "another") && otherThan[next] && !ownWord(u.word(at-1)):
		return another
	case w.text == "by" && (apart[u.word(at-1)] || strings.HasSuffix(u.word(at-1), "ed")) && articles[next] && !ownWord(next):
		return another // "hit by a"
	case w.suffix && w.text == "s" && u.words[at-1].capital && !empty[u.words[at-1].text] && !notNames[u.words[at-1].text]:
		return another // "Peter's"
	case w.text == "me" && (apart[u.word(at-1)] || u.word(at-1) == "to"):
		return nobody // "next to me"
	case who == self && u.reported(at):
		return another
	case who == self, who == nobody:
		return who
	case next == "and" && who != another:
		return nobody // "two kids and a Honda": the Honda is not the kids'
	case !u.ownRelation(at):
		return another
	}
	return who
}

func (u *utterance) capitalAt(at int) bool {
	return at >= 0 && at < len(u.words) && u.words[at].capital
}

func ownWord(w string) bool { return w == "my" || w == "our" }

// ownRelation reports whether the wife or son spoken of is the caller's.
func (u *utterance) ownRelation(at int) bool {
	for i := at - 1; i >= max(0, at-4) && u.words[i+1].stop == 0; i-- {
		w := u.words[i]
		switch {
		case w.suffix && w.text == "s", foreign[w.text]:
			return false
		case people[w.text] == self:
			return true
		}
	}
	return true
}

// reported reports whether the caller repeats somebody else's "I" or "my".
func (u *utterance) reported(at int) bool {
	for i := at - 1; i >= max(0, at-4) && u.words[i+1].stop == 0; i-- {
		if saying[u.words[i].text] {
			for j := i - 1; j >= 0 && u.words[j+1].stop == 0; j-- {
				if w := u.words[j].text; w == "you" || people[w] != nobody {
					return people[w] != self
				}
			}
			return false
		}
		if !saidTo[u.words[i].text] {
			return false
		}
	}
	return false
}

// denied reports whether the words from one to another are denied, or with
// maybe given, only supposed: by a "not" before them in their clause, or by
// an "is not my" or a "no" after them.
func (u *utterance) denied(from, to int, maybe bool) bool {
	for i := from - 1; i >= 0 && !u.words[i+1].pause; i-- {
		w := u.words[i].text
		switch {
		case u.negates(i), maybe && conditions[w]:
			return true
		case w == "used" && u.word(i+1) == "to" && u.word(i-1) != "am" && u.word(i-1) != "m":
			return true
		case w == "but", subjects[w] && !complements[u.word(i-1)], ownWord(w) && u.word(i-1) == "and":
			return false
		}
	}
	if to >= len(u.words) {
		return false
	}
	after := u.words[to]
	if after.stop == '?' && noes[after.text] {
		return true
	}
	return !after.pause && copulas[after.text] && u.negates(to+1) && (maybe || defining[u.word(to+2)])
}

// negates reports whether a word denies what comes after it.
func (u *utterance) negates(at int) bool {
	if at >= len(u.words) {
		return false
	}
	w, next := u.words[at], u.word(at+1)
	switch {
	case w.suffix && w.text == "t":
		return true
	case !negators[w.text]:
		return false
	case w.text == "no":
		return !replies[next] && (at+1 >= len(u.words) || !u.words[at+1].pause)
	case w.text == "not":
		return next != "only" && next != "just"
	}
	return true
}

// takenBack reports whether a correction follows the word before to: "48, no,
// sorry, 45". fits says whether a word may be what replaces it.
func (u *utterance) takenBack(to int, fits func(word) bool) (by int, ok bool) {
	marked := false
	for i := to; i < len(u.words) && i < to+9; i++ {
		switch w := u.words[i]; {
		case correcting[w.text]:
			marked = true
		case marked && fits(w):
			return i, true
		case !fillers[w.text] && !corrected[w.text]:
			return 0, false
		}
	}
	return 0, false
}

// asks reports whether the clause of a word asks if something is so.
func (u *utterance) asks(at int) bool {
	from := at
	for from > 0 && !u.words[from].pause {
		from--
	}
	for from < at && (opening[u.words[from].text] && !auxiliaries[u.words[from].text] || u.words[from].text == "but") {
		from++
	}
	first := u.words[from].text
	if !auxiliaries[first] || from == at {
		return false
	}
	next := u.word(from + 1)
	if next == "t" {
		next = u.word(from + 2)
	}
	return subjects[next] || ownWord(next) || next == "the" || next == "that" || next == "there"
}
