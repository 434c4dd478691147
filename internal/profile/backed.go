package profile

import (
	"slices"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
)

// backed reports whether the caller's words say a normalised value. The quote
// has to carry it; the rest of the turn may complete it.
func (g gate) backed(f events.Field, value, quote, turn string) bool {
	switch f.Type {
	case "boolean":
		if value == "false" {
			return denies(turn)
		}
		return !denies(quote)
	case "int", "number", "float":
		return numberBacked(value, quote, turn, strings.HasSuffix(f.Path, ".year"))
	case "phone":
		return strings.Contains(digitsIn(turn), strings.TrimPrefix(value[1:], "1"))
	case "email":
		return emailBacked(value, turn)
	case "date":
		return g.dateBacked(value, quote) || g.dateBacked(value, turn)
	}
	if f.Type == "enum" || strings.HasPrefix(f.Type, "enum[") {
		return true // the template's word for it, not the caller's
	}
	return textBacked(value, quote, turn)
}

func denies(text string) bool {
	return slices.ContainsFunc(strings.Fields(fold(text)), func(w string) bool {
		switch w {
		case "not", "no", "never", "nope", "nah", "t", "cannot", "without": // "isn't" is two words here
			return true
		}
		return false
	})
}

// emailBacked wants the whole address: "lee@example.com" is not what somebody
// says who says "ann dot lee at example dot com". Letters may be spelled.
func emailBacked(value, turn string) bool {
	text := spelling.Replace(strings.ToLower(turn))
	for i := range text {
		if text[i] != value[0] || i > 0 && emailLetter(text[i-1]) {
			continue
		}
		rest, left := text[i:], value
		for left != "" && rest != "" && (rest[0] == left[0] || rest[0] == ' ') {
			if rest[0] == left[0] {
				left = left[1:]
			}
			rest = rest[1:]
		}
		// A full stop ends the sentence, unless more of the address follows.
		if left == "" && !emailLetter((strings.TrimLeft(rest, ".") + " ")[0]) {
			return true
		}
	}
	return false
}

func emailLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("._%+-", c) >= 0
}

// numberBacked wants the number in the quote; one that stands alone in the
// turn will do. A year may be said by its last two digits.
func numberBacked(value, quote, turn string, year bool) bool {
	said := numbersIn(quote)
	if all := numbersIn(turn); len(said) == 0 && len(all) == 1 {
		said = all
	}
	for _, n := range said {
		s := decimal(n)
		if s == value || year && len(value) == 4 && len(s) <= 2 && strings.TrimLeft(value[2:], "0") == strings.TrimLeft(s, "0") {
			return true
		}
	}
	return false
}

// dateBacked allows for years and weeks that were not said.
func (g gate) dateBacked(value, text string) bool {
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

// textBacked wants every word that matters to be in the turn, and one of them
// in the quote.
func textBacked(value, quote, turn string) bool {
	inTurn, inQuote := wordsOf(turn), wordsOf(quote)
	long := digitsIn(value)
	spoken := len(long) >= 5 && strings.Contains(digitsIn(turn), long)
	all := strings.Fields(fold(value))
	matter := slices.DeleteFunc(slices.Clone(all), func(w string) bool { return empty[w] })
	if len(matter) == 0 {
		matter = all
	}
	quoted := false
	for _, w := range matter {
		digits := spoken && strings.ContainsAny(w, "0123456789")
		if !digits && !inTurn.has(w) {
			return false
		}
		quoted = quoted || digits || inQuote.has(w)
	}
	return quoted
}

// empty words carry no fact of their own.
var empty = func() map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields("a an the of and or is are was were be am to in on at for with by my your his her their our i me he she they it we you that this has have had s caller") {
		out[w] = true
	}
	return out
}()

// said is what words a text has, each cut to what stays the same in its forms,
// and what is spelled in it letter by letter.
type said struct {
	stems   map[string]bool
	spelled []string
}

func wordsOf(text string) said {
	out := said{stems: map[string]bool{}}
	run := ""
	for _, w := range append(strings.Fields(fold(text)), "") {
		if w != "" {
			out.stems[stem(w)] = true
		}
		if len([]rune(w)) == 1 {
			run += w
			continue
		}
		if len(run) > 2 {
			out.spelled = append(out.spelled, run)
		}
		run = ""
	}
	return out
}

func (s said) has(w string) bool {
	return s.stems[stem(w)] || len(w) > 1 && slices.ContainsFunc(s.spelled, func(run string) bool { return strings.Contains(run, w) })
}

var stemNumbers = map[string]string{"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12"}

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
