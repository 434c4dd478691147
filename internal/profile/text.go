package profile

import (
	"strings"
)

// textBacked wants the words of a value as they are, in their order, with
// nothing but small words between them, and an identifier in full.
func (g *gate) textBacked(r rule, value, subject string, p place) bool {
	words := hear(value).words
	id := identifier(words)
	for at := range p.words {
		var end int
		if id != "" {
			end = p.identifies(id, at)
		} else {
			end = p.matches(words, at)
		}
		if end == 0 || !p.quotes(at, end) || p.all(empty, at, end) || p.denied(at, end, false) {
			continue
		}
		if subject != "caller" || g.owned(r, p, at, end) {
			return true
		}
	}
	return false
}

// identifier is a value of many digits as one: "PX-48210" is "px48210". What
// has longer words, as an address does, is none.
func identifier(words []word) string {
	var b strings.Builder
	n, long := 0, false
	for _, w := range words {
		s, ok := single(w)
		if !ok {
			s, long = w.text, long || len(w.text) > 4
		}
		if s[0] >= '0' && s[0] <= '9' {
			n += len(s)
		}
		b.WriteString(s)
	}
	if n < 5 || long {
		return ""
	}
	return b.String()
}

// identifies is where an identifier ends that begins at a word, in full; 0
// where none does.
func (u *utterance) identifies(id string, at int) int {
	if u.partOfID(at-1, at) || idWords[u.words[at].text] {
		return 0
	}
	rest, times := id, 1
	for i := at; i < len(u.words) && (i == at || u.words[i].stop == 0); i++ {
		w := u.words[i]
		if n := repeats[w.text]; n > 0 {
			times = n
			continue
		}
		s, ok := single(w)
		if !ok {
			s = w.text
		}
		s = strings.Repeat(s, times)
		times = 1
		if rest, ok = strings.CutPrefix(rest, s); !ok {
			return 0
		}
		if rest == "" {
			if u.partOfID(i+1, i+1) {
				return 0
			}
			return i + 1
		}
	}
	return 0
}

// partOfID reports whether a word goes on with a number said next to it, with
// nothing but a space before word number seam.
func (u *utterance) partOfID(at, seam int) bool {
	if at < 0 || at >= len(u.words) || u.words[seam].pause {
		return false
	}
	w := u.words[at]
	_, ok := single(w)
	return u.words[seam].glued || ok && w.text != "a" && w.text != "i" || repeats[w.text] > 0
}

// matches is where words end that are said in their order from a word on; 0
// where they are not.
func (u *utterance) matches(words []word, at int) int {
	i := at
	for k := 0; k < len(words); k++ {
		w := words[k]
		skipped := 0
		for i < len(u.words) && i > at && skipped < 3 && !u.same(w, i) && (empty[u.words[i].text] || fillers[u.words[i].text]) {
			i++
			skipped++
		}
		switch {
		case i < len(u.words) && (i == at || u.words[i].stop == 0) && u.same(w, i):
			i++
		case i < len(u.words) && (i == at || u.words[i].stop == 0) && len(w.text) > 1:
			spelt, end := u.run(i)
			_, before := single(u.words[max(0, i-1)])
			if spelt != w.text || before && i > 0 && i == at {
				return 0
			}
			i = end
		case empty[w.text] && k > 0:
			i -= skipped
		default:
			return 0
		}
	}
	if i < len(u.words) && u.words[i].glued || u.words[at].glued {
		return 0
	}
	return i
}

// same reports whether a word of a value is the one said, "3" for "three" too.
func (u *utterance) same(w word, at int) bool {
	said := u.words[at].text
	return said == w.text || number(said) == number(w.text)
}

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
	words := hear(value).words
	at, quoted, first, no := 0, false, -1, false
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
	if n, ok := stemNumbers[w]; ok {
		return n
	}
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
