package conversation

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// overlap finds out how much of a model's words the caller has heard already:
// a model that is to go on from said may start over, go on, or say the last
// words again before it goes on. Texts are compared by letters and digits, so
// that other punctuation is not another answer.
type overlap struct {
	said   string
	repeat []string // what may be being repeated: said, then its ends, longest first
	got    strings.Builder
}

// maxTail is how many words of said a model may say again before it goes on.
const maxTail = 12

func newOverlap(said string) *overlap {
	o := &overlap{said: said}
	o.repeat = append([]string{said}, tails(said)...)
	return o
}

// feed takes the next words. While they might still be a repetition it is
// undecided; then rest is what is new in all of them.
func (o *overlap) feed(text string) (rest string, decided bool) {
	o.got.WriteString(text)
	got := o.got.String()
	for len(o.repeat) > 0 {
		switch m := follow(o.repeat[0], got); m.state {
		case undecided:
			return "", false
		case whole:
			return got[m.n:], true
		}
		o.repeat = o.repeat[1:] // and never again
	}
	return got, true
}

// rest is what is new when no more words come.
func (o *overlap) rest() string {
	got := o.got.String()
	if !strings.ContainsFunc(got, spoken) {
		if strings.HasSuffix(strings.TrimSpace(o.said), strings.TrimSpace(got)) {
			return ""
		}
		return got // a question mark, say
	}
	if follow(o.said, got).state == undecided && len(strings.Fields(got)) > 1 {
		return "" // started over, and ended before anything new
	}
	for _, r := range o.repeat {
		if m := follow(r, got); m.letters {
			return got[m.n:]
		}
	}
	return got
}

// tails are the ends of said that count when they are said again, longest
// first. One word is none of them: it may well begin what comes next.
func tails(said string) (list []string) {
	words := 0
	for i := len(said); i > 0 && words < maxTail; {
		start := strings.LastIndexFunc(said[:i], unicode.IsSpace)
		_, size := utf8.DecodeRuneInString(said[max(start, 0):])
		from := start + size
		if start < 0 {
			from = 0
		}
		if strings.ContainsFunc(said[from:i], spoken) {
			words++
			if words > 1 && from > 0 {
				list = append([]string{said[from:]}, list...)
			}
		}
		i = max(start, 0)
	}
	return list
}

// What following one text in another leads to.
const (
	apart     = iota // they differ
	undecided        // the second may still become the first
	whole            // the second begins with the first
)

// match is how far a text was found at the beginning of another.
type match struct {
	state   int
	letters bool // all letters and digits were found
	n       int  // bytes of the other it takes up; of a whole or letters match
}

// follow looks for said at the beginning of got. Punctuation counts only
// where said ends, so that it is not said twice.
func follow(said, got string) match {
	j, any := 0, false
	for i, r := range said {
		if !spoken(r) {
			continue
		}
		any = true
		n := j
		for n < len(got) && utf8.FullRuneInString(got[n:]) {
			g, size := utf8.DecodeRuneInString(got[n:])
			if spoken(g) {
				break
			}
			n += size
		}
		if !utf8.FullRuneInString(got[n:]) {
			return match{state: undecided}
		}
		g, size := utf8.DecodeRuneInString(got[n:])
		if unicode.ToLower(g) != unicode.ToLower(r) {
			return match{state: apart}
		}
		j = n + size
		if !strings.ContainsFunc(said[i+utf8.RuneLen(r):], spoken) {
			return ending(said[i+utf8.RuneLen(r):], got, j)
		}
	}
	if !any {
		return match{state: apart}
	}
	return match{state: whole, letters: true, n: j}
}

// ending leaves out the punctuation that said ends with where got has it too.
func ending(said, got string, j int) match {
	for _, r := range said {
		if unicode.IsSpace(r) {
			continue
		}
		n := len(got) - len(strings.TrimLeftFunc(got[j:], unicode.IsSpace))
		if !utf8.FullRuneInString(got[n:]) {
			return match{state: undecided, letters: true, n: j}
		}
		g, size := utf8.DecodeRuneInString(got[n:])
		if g != r {
			break
		}
		j = n + size
	}
	return match{state: whole, letters: true, n: j}
}

// spoken reports whether r can be heard.
func spoken(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }
