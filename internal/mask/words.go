package mask

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// word is a piece of a turn: a word, a numeral, or a mark that stands for a
// number left out before.
type word struct {
	from, to int    // bytes of the turn
	low      string // in small letters
	digits   string // of a numeral, a code with digits in it, or a number word
	what     form
	stop     byte // ends the sentence after it: . ! ? ; or 0
}

type form int

const (
	plain  form = iota
	figure      // digits only
	code        // letters and digits: PX482, 4th, 10k
	spoken      // a number word
	format      // 12/25/2018, 3:30, $4,500.00: digits that say what they are
	marked      // [CARD]
)

// maxText is how much of a turn is looked at; what lies behind is not kept.
const maxText = 16 << 10

// split takes a text apart.
func split(text string) []word {
	words := make([]word, 0, 1+len(text)/4)
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == '[' && markAt(text[i:]) > 0:
			n := markAt(text[i:])
			words = append(words, word{from: i, to: i + n, low: text[i : i+n], what: marked})
			i += n
		case unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r):
			w := scan(text, i)
			words = append(words, w)
			i = w.to
		default:
			if n := len(words); n > 0 && (r == '.' || r == '!' || r == '?' || r == ';') && ends(text, i+size) {
				words[n-1].stop = text[i]
			}
			i += size
		}
	}
	return words
}

// ends reports whether a sentence can end before i.
func ends(text string, i int) bool {
	return i >= len(text) || text[i] == ' ' || text[i] == '\n' || text[i] == '"'
}

// markAt is the length of the mark a text begins with; 0: none.
func markAt(text string) int {
	end := strings.IndexByte(text, ']')
	if end < 2 || end > 12 {
		return 0
	}
	for _, c := range text[1:end] {
		if c < 'A' || c > 'Z' {
			return 0
		}
	}
	return end + 1
}

// scan reads the word that begins at i.
func scan(text string, i int) word {
	w := word{from: i}
	letters, figures := 0, 0
	var digits []byte
	j := i
	for j < len(text) {
		r, size := utf8.DecodeRuneInString(text[j:])
		if unicode.IsDigit(r) {
			figures++
			digits = append(digits, digit(r))
		} else if unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r) {
			letters++
		} else if r != '\'' && r != '’' || letters == 0 {
			break
		}
		j += size
	}
	w.to, w.low, w.digits = j, strings.ToLower(text[i:j]), string(digits)
	switch {
	case figures == 0:
		w.digits = small[w.low]
		if w.digits != "" {
			w.what = spoken
		}
	case letters > 0:
		w.what = code
	default:
		w.what = figure
		formatted(text, &w)
	}
	return w
}

// digit is the ASCII digit of any script's.
func digit(r rune) byte {
	if r < utf8.RuneSelf {
		return byte(r)
	}
	zero := r
	for n := 0; n < 9 && unicode.IsDigit(zero-1); n++ {
		zero--
	}
	return '0' + byte((r-zero)%10)
}

// formatted extends a numeral by what shows that it is a date, a time or an
// amount.
func formatted(text string, w *word) {
	to, seps := w.to, ""
	groups := []int{w.to - w.from}
	for to+1 < len(text) && len(seps) < 6 {
		c := text[to]
		if c != '/' && c != ':' && c != ',' && c != '.' && c != '-' || !isDigit(text[to+1]) || len(seps) > 0 && c != seps[0] && c != '.' {
			break
		}
		n := 1
		for to+1+n < len(text) && isDigit(text[to+1+n]) {
			n++
		}
		seps += string(c)
		groups = append(groups, n)
		to += 1 + n
	}
	before := strings.TrimRight(text[:w.from], " ")
	priced := strings.HasSuffix(before, "$") || strings.HasSuffix(before, "£") || strings.HasSuffix(before, "€")
	switch {
	case seps == "" && priced && groups[0] <= 9:
	case seps == "":
		return
	case seps[0] == '/' && slashed(groups):
	case seps == ":" && groups[0] <= 2 && groups[1] == 2:
	case seps == "." && groups[1] <= 2 && groups[0] <= 6:
	case seps[0] == ',' && amount(groups, seps):
	case (seps == "--" || seps == "..") && dateGroups(groups):
	default:
		return // groups of a longer number
	}
	w.to, w.what = to, format
	w.digits = onlyDigits(text[w.from:to])
}

// slashed: 12/25/2018, 08/27 or 1/2.
func slashed(groups []int) bool {
	long := 0
	for _, n := range groups {
		if n > 4 {
			return false
		}
		if n > 2 {
			long++
		}
	}
	return len(groups) <= 3 && long <= 1
}

// amount: 4,500 or 1,234,567.89.
func amount(groups []int, seps string) bool {
	if groups[0] > 3 || len(groups) > 5 {
		return false
	}
	for i, n := range groups[1:] {
		if seps[i] == ',' && n != 3 || seps[i] == '.' && n > 2 {
			return false
		}
	}
	return true
}

func dateGroups(g []int) bool {
	return g[0] == 4 && g[1] <= 2 && g[2] <= 2 || g[0] <= 2 && g[1] <= 2 && (g[2] == 4 || g[2] == 2)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func onlyDigits(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if isDigit(s[i]) {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// small are the words that are digits, or two of them.
var small = map[string]string{
	"zero": "0", "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
	"eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14",
	"fifteen": "15", "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20",
	"thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90",
	"o": "0", "niner": "9",
}

var repeats = map[string]int{"double": 2, "triple": 3, "treble": 3, "quadruple": 4}

// number is a run of digits as said: "4111 1111", "four one double one".
type number struct {
	first, last int    // words
	digits      string // joined
	groups      []int  // digits of each numeral
	bySpeech    bool   // in words only
	said        int    // words it is made of
	hyphens     bool   // 123-45-6789
	scaled      bool   // with a hundred or thousand in it
	what        form   // of a single word; figure for runs
}

// numbers are the runs of digits of a turn, in order.
func numbers(text string, words []word) (out []number) {
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch w.what {
		case format, code, marked:
			out = append(out, number{first: i, last: i, digits: w.digits, groups: []int{len(w.digits)}, what: w.what, said: 1})
		case figure:
			n := run(text, words, i)
			out = append(out, n)
			i = n.last
		case spoken:
			if n := run(text, words, i); n.said > 1 || w.low != "oh" && w.low != "o" {
				out = append(out, n)
				i = n.last
			}
		case plain:
			if repeats[w.low] > 0 && i+1 < len(words) && len(words[i+1].digits) == 1 {
				n := run(text, words, i)
				out = append(out, n)
				i = n.last
			}
		}
	}
	return out
}

// run joins digits from a word on, as long as nothing but pauses is between.
func run(text string, words []word, first int) number {
	n := number{first: first, last: first, what: figure, bySpeech: true, hyphens: true}
	for i := first; i < len(words); i++ {
		if i > first && (!joined(text, words, i, &n) || n.date() || words[i].what == figure && isDay(words[i].digits)) {
			break
		}
		if i > first && fillers[words[i].low] {
			continue
		}
		digits, end := said(text, words, i)
		if digits == "" {
			break
		}
		n.digits += digits
		n.groups = append(n.groups, len(digits))
		n.said += end - i + 1
		n.bySpeech = n.bySpeech && words[end].what != figure
		n.hyphens = n.hyphens && words[i].what == figure
		n.scaled = n.scaled || scales[words[i].low] != ""
		n.last, i = end, end
		if words[end].stop != 0 && end+1 < len(words) && words[end+1].what != words[end].what {
			break
		}
	}
	return n
}

// date reports whether a number is a day so far, which ends it.
func (n number) date() bool { return len(n.groups) == 1 && isDay(n.digits) }

func isDay(d string) bool { return len(d) == 8 && isDate(d) }

// said are the digits that a word begins: "7", "double five", "forty two".
func said(text string, words []word, i int) (digits string, end int) {
	w := words[i]
	var next word
	if i+1 < len(words) {
		next = words[i+1]
	}
	digit := len(next.digits) == 1 && next.what != code
	switch {
	case repeats[w.low] > 0 && digit:
		return strings.Repeat(next.digits, repeats[w.low]), i + 1
	case w.what == spoken && ten(w.digits) && digit && next.what == spoken && next.digits != "0" && strings.Trim(text[w.to:next.from], " -") == "":
		return w.digits[:1] + next.digits, i + 1
	case scales[w.low] != "":
		return scales[w.low], i
	case w.what == figure || w.what == spoken:
		return w.digits, i
	}
	return "", i
}

func ten(d string) bool { return len(d) == 2 && d[1] == '0' && d[0] > '1' }

// scales are said after digits; how many digits they stand for is near enough.
var scales = map[string]string{"hundred": "00", "thousand": "000"}

// joined reports whether a word goes on with the number before it.
func joined(text string, words []word, i int, n *number) bool {
	between := text[words[i-1].to:words[i].from]
	if len(between) > 8 || strings.Trim(between, " -.,–—…\t\u00a0") != "" {
		return false
	}
	if words[i].what == figure && !strings.Contains(between, "-") {
		n.hyphens = false
	}
	w := words[i]
	return w.what == figure || w.what == spoken || fillers[w.low] || repeats[w.low] > 0 || n.bySpeech && scales[w.low] != ""
}

var fillers = map[string]bool{"uh": true, "um": true, "er": true, "uhm": true, "dash": true, "hyphen": true, "space": true, "hmm": true, "mm": true}

// isDate: eight digits that are a day, American or European, or written from the year on.
func isDate(d string) bool {
	two := func(i int) int { return int(d[i]-'0')*10 + int(d[i+1]-'0') }
	ok := func(month, day int) bool { return month >= 1 && month <= 12 && day >= 1 && day <= 31 }
	switch len(d) {
	case 8:
		if isYear(d[4:]) && (ok(two(0), two(2)) || ok(two(2), two(0))) {
			return true
		}
		return isYear(d[:4]) && ok(two(4), two(6))
	case 6:
		return ok(two(0), two(2)) || ok(two(2), two(0)) || ok(two(2), two(4))
	}
	return false
}

// isYear: of a car, a purchase, or soon; older ones are called a year.
func isYear(d string) bool { return len(d) == 4 && d >= "1940" && d <= "2034" }
