package profile

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// word is one word of an utterance, or the letters or digits of one: "250k"
// is two.
type word struct {
	text     string // in small letters
	from, to int    // its place in the utterance's low
	capital  bool
	glued    bool // nothing stands before it
	suffix   bool // an apostrophe does: the s of "driver's"
	pause    bool // a comma, colon or dash does, or the end of a sentence
	stop     byte // the sign that ended the sentence before it; 0: none
}

// utterance is a text taken apart.
type utterance struct {
	low   string // in small letters
	words []word
	end   byte // the sign that ends it; 0: none
	cased bool // it has capitals, so that a name without one is none
}

// hear takes a text apart.
func hear(text string) utterance {
	u := utterance{words: make([]word, 0, len(text)/5+1)}
	low := make([]byte, 0, len(text))
	last, gapAt := rune(0), 0 // the rune before, where it is part of a word; where the gap began
	for _, r := range text {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) {
			if last != 0 {
				last, gapAt = 0, len(low)
			}
			low = utf8.AppendRune(low, r)
			continue
		}
		if last == 0 || unicode.IsDigit(last) != unicode.IsDigit(r) && !unicode.IsMark(r) {
			if len(u.words) == maxWords {
				break
			}
			w := word{from: len(low), capital: unicode.IsUpper(r), glued: last != 0}
			if last == 0 {
				gap := string(low[gapAt:])
				w.pause, w.stop = signs(gap, u.words)
				w.suffix = len(u.words) > 0 && (gap == "'" || gap == "’")
			}
			u.words = append(u.words, w)
		}
		low = utf8.AppendRune(low, unicode.ToLower(r))
		u.words[len(u.words)-1].to = len(low)
		last = r
	}
	u.low = string(low)
	for i := range u.words {
		w := &u.words[i]
		w.text = u.low[w.from:w.to]
		u.cased = u.cased || w.capital && w.text != "i"
	}
	for i := range u.words { // "Mr. Lee" is one sentence
		if w := &u.words[i]; w.stop == '.' && titles[u.words[i-1].text] {
			w.pause, w.stop = false, 0
		}
	}
	if last == 0 && len(u.words) > 0 {
		_, u.end = signs(u.low[gapAt:]+" ", u.words)
	}
	return u
}

// signs are what the gap after words means.
func signs(gap string, before []word) (pause bool, stop byte) {
	if len(before) == 0 || gap == " " {
		return false, 0
	}
	if i := strings.IndexAny(gap, "?!;\n"); i >= 0 {
		return true, gap[i]
	}
	if strings.Contains(gap, ". ") {
		return true, '.'
	}
	return strings.ContainsAny(gap, ",:—–()\"…") || strings.Contains(gap, " -") || strings.Contains(gap, ".."), 0
}

// find is where the words stand in u, from word number at on; -1: nowhere.
func (u *utterance) find(words []word, at int) int {
	for ; len(words) > 0 && at+len(words) <= len(u.words); at++ {
		if u.has(words, at) {
			return at
		}
	}
	return -1
}

// has reports whether the words stand at that place, none of them half a word.
func (u *utterance) has(words []word, at int) bool {
	end := at + len(words)
	if end > len(u.words) || u.words[at].glued || end < len(u.words) && u.words[end].glued {
		return false
	}
	for i, w := range words {
		if u.words[at+i].text != w.text {
			return false
		}
	}
	return true
}

// says is where one of the phrases stands in u between two words, in any form
// of its words; from is -1 where none does. The last one counts.
func (u *utterance) says(cues []phrase, from, to int) (int, int) {
	for at := min(to, len(u.words)) - 1; at >= from; at-- {
		for _, c := range cues {
			if at+len(c) <= to && u.means(c, at) {
				return at, at + len(c)
			}
		}
	}
	return -1, -1
}

func (u *utterance) means(c phrase, at int) bool {
	if at+len(c) > len(u.words) {
		return false
	}
	for i, w := range c {
		if stem(u.words[at+i].text) != w {
			return false
		}
	}
	return len(c) > 0
}

// sentence is where the sentence of a word begins, and where it ends.
func (u *utterance) sentence(at int) (from, to int) {
	at = min(at, len(u.words)-1)
	for from = at; from > 0 && u.words[from].stop == 0; {
		from--
	}
	for to = at + 1; to < len(u.words) && u.words[to].stop == 0; {
		to++
	}
	return max(from, 0), to
}

// sign is what ends the sentence that ends before word number to.
func (u *utterance) sign(to int) byte {
	if to < len(u.words) {
		return u.words[to].stop
	}
	return u.end
}

// word is the text of a word, or nothing where there is none.
func (u *utterance) word(at int) string {
	if at < 0 || at >= len(u.words) {
		return ""
	}
	return u.words[at].text
}

// all reports whether every word between two is one of the set.
func (u *utterance) all(in set, from, to int) bool {
	for ; from < to; from++ {
		if !in[u.words[from].text] {
			return false
		}
	}
	return true
}

// run is a number or a word said in single digits and letters, in full, that
// begins at a word: "P X four double seven". end is at where none does.
func (u *utterance) run(at int) (text string, end int) {
	var b strings.Builder
	times := 1
	for end = at; end < min(len(u.words), at+maxRun); end++ {
		w := u.words[end]
		if end > at && (w.stop != 0 || w.suffix) {
			break
		}
		if n := repeats[w.text]; n > 0 {
			times = n
			continue
		}
		piece, ok := single(w)
		if !ok {
			break
		}
		b.WriteString(strings.Repeat(piece, times))
		times = 1
	}
	return b.String(), end
}

// single is what a word adds to a run.
func single(w word) (string, bool) {
	if w.suffix {
		return "", false
	}
	if n, ok := small[w.text]; ok && n < 10 {
		return string(rune('0' + n)), true
	}
	if w.text == "oh" {
		return "0", true
	}
	if w.text[0] >= '0' && w.text[0] <= '9' || utf8.RuneCountInString(w.text) == 1 {
		return w.text, true
	}
	return "", false
}
