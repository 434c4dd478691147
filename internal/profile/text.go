package profile

import "strings"

// textBacked wants the words of a value somewhere: matches is where they end
// that begin at a word, or 0.
func (g *gate) textBacked(r rule, subject string, p place, matches func(at int) int) bool {
	for at := range p.words {
		end := matches(at)
		if p.all(empty, at, end) {
			continue
		}
		if subject == "caller" && g.holds(r, p, at, end) ||
			subject != "caller" && g.holds(rule{whose: anyones}, p, at, end) {
			return true
		}
	}
	return false
}

// identifies is where a policy number or the like ends that begins at a word,
// in full, said in whatever pieces; 0 where none does.
func (u *utterance) identifies(id string, at int) int {
	if u.goesOn(at-1, at) {
		return 0
	}
	times := 1
	for i := at; i < len(u.words) && (i == at || u.words[i].stop == 0); i++ {
		w := u.words[i]
		if n := repeats[w.text]; n > 0 {
			times = n
			continue
		}
		piece, ok := single(w)
		if !ok {
			piece = w.text
		}
		if id, ok = strings.CutPrefix(id, strings.Repeat(piece, times)); !ok {
			return 0
		}
		times = 1
		if id == "" && !u.goesOn(i+1, i+1) {
			return i + 1
		}
	}
	return 0
}

// goesOn reports whether a word is a piece of what is said on the other side
// of the gap before word number seam.
func (u *utterance) goesOn(at, seam int) bool {
	if at < 0 || seam >= len(u.words) || u.words[seam].pause {
		return false
	}
	w := u.words[at]
	_, one := single(w)
	return u.words[seam].glued || one && w.text != "a" && w.text != "i" || repeats[w.text] > 0
}

// matches is where words end that are said in their order from a word on, with
// nothing but small words between them, or one of them spelled; 0 where they
// are not.
func (u *utterance) matches(words []word, at int) int {
	i, first := at, true
	for _, w := range words {
		if empty[w.text] && (i >= len(u.words) || u.words[i].text != w.text) {
			continue
		}
		for !first && i < len(u.words) && (empty[u.words[i].text] || fillers[u.words[i].text]) && u.words[i].text != w.text {
			i++
		}
		if i >= len(u.words) || !first && u.words[i].stop != 0 {
			return 0
		}
		if number(u.words[i].text) == number(w.text) {
			i++
		} else if spelt, end := u.run(i); spelt == w.text && end-i > 1 && !u.goesOn(i-1, i) {
			i = end
		} else {
			return 0
		}
		first = false
	}
	if i < len(u.words) && u.words[i].glued || u.words[at].glued {
		return 0
	}
	return i
}

// number is a word, in digits where it is a small number.
func number(w string) string {
	if n, ok := stemNumbers[w]; ok {
		return n
	}
	return w
}

// freeBacked is for what is remembered in no form: every word that matters in
// the turn, in its order and some form, one of them in the quote, and nothing
// of it denied that the value does not deny.
func freeBacked(r rule, value, subject string, p place) bool {
	at, first, quoted, no := 0, -1, false, false
	words := hear(value).words
	for _, w := range words {
		no = no || negators[w.text] || w.suffix && w.text == "t"
	}
	for _, w := range words {
		if empty[w.text] || w.suffix {
			continue
		}
		for at < len(p.words) && stem(p.words[at].text) != stem(w.text) {
			at++
		}
		if at == len(p.words) || !no && p.denied(at, at+1, false) {
			return false
		}
		if first < 0 {
			first = at
		}
		quoted = quoted || p.quotes(at, at+1)
		at++
	}
	return quoted && (subject != "caller" || r.whose == anyones || !p.ofOthers(first))
}

var stemNumbers = map[string]string{"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12"}

// stem cuts a word to what stays the same in its forms.
func stem(w string) string {
	w = number(w)
	for _, end := range []string{"ing", "ed", "es", "s"} {
		if short, ok := strings.CutSuffix(w, end); ok && len(short) >= 3 && !strings.HasSuffix(w, "ss") {
			w = short
			break
		}
	}
	if len(w) > 3 {
		w = strings.TrimSuffix(w, "e")
	}
	return w
}
