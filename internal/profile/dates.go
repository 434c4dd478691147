package profile

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// mention is a date as somebody says it.
type mention struct {
	day      time.Time // midnight UTC of the day meant
	yearless bool      // the year was not said
	weekday  bool      // nothing but the day of the week was said
}

// value is the field's form of a date: ISO 8601, and for the birthday of
// someone whose age was not said "--05-03".
func (m mention) value(path string) string {
	if m.yearless && strings.Contains(path, "birth") {
		return m.day.Format("--01-02")
	}
	return m.day.Format(time.DateOnly)
}

const (
	monthForm = `(january|february|march|april|may|june|july|august|september|october|november|december|jan|feb|mar|apr|jun|jul|aug|sept|sep|oct|nov|dec)\.?`
	dayForm   = `([0-9]{1,2})(?:st|nd|rd|th)?`
	yearForm  = `(?:,? (?:of )?([0-9]{4}))?`
	unitForm  = ` (day|week|month|year)s?\b`
)

var dateForm = regexp.MustCompile(`\b(?:` + strings.Join([]string{
	`([0-9]{4})-([0-9]{2})-([0-9]{2})\b`,                                                       // 1 2 3
	`([0-9]{1,2})/([0-9]{1,2})(?:/([0-9]{4}|[0-9]{2}))?\b`,                                     // 4 5 6
	monthForm + ` (?:the )?` + dayForm + yearForm + `\b`,                                       // 7 8 9
	`(?:the )?` + dayForm + ` (?:of )?` + monthForm + yearForm + `\b`,                          // 10 11 12
	`(the day after tomorrow|today|tonight|tomorrow|yesterday)\b`,                              // 13
	`(?:(last) )?(?:next |this )?(monday|tuesday|wednesday|thursday|friday|saturday|sunday)s?`, // 14 15
	`in ([0-9]{1,3})` + unitForm,                                                               // 16 17
	`([0-9]{1,3})` + unitForm + ` ago`,                                                         // 18 19
}, "|") + `)`)

var ordinals = func() *strings.Replacer {
	first := strings.Fields("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth")
	var pairs []string
	for i, w := range first[:9] { // the longer ones before those they begin or end with
		pairs = append(pairs, "twenty "+w, strconv.Itoa(21+i), "twenty-"+w, strconv.Itoa(21+i))
	}
	pairs = append(pairs, "thirty first", "31", "thirty-first", "31", "thirtieth", "30")
	for i, w := range first {
		pairs = append(pairs, " "+w, " "+strconv.Itoa(i+1))
	}
	for w, n := range small {
		if n > 0 && n <= 12 {
			for _, unit := range []string{"day", "week", "month", "year"} {
				pairs = append(pairs, " "+w+" "+unit, " "+strconv.FormatInt(n, 10)+" "+unit)
			}
		}
	}
	for _, unit := range []string{"day", "week", "month", "year"} {
		pairs = append(pairs, " a "+unit, " 1 "+unit)
	}
	return strings.NewReplacer(pairs...)
}()

// datesIn are the dates a text mentions, as meant on the day of the call.
func (g gate) datesIn(text string) (out []mention) {
	y, mo, d := g.StartedAt.In(g.Zone).Date()
	today := time.Date(y, mo, d, 0, 0, 0, 0, time.UTC)
	text = ordinals.Replace(" " + strings.ToLower(strings.Join(strings.Fields(text), " ")))
	for _, m := range dateForm.FindAllStringSubmatch(text, -1) {
		if at, ok := dateOf(m, today); ok {
			out = append(out, at)
		}
	}
	return out
}

func dateOf(m []string, today time.Time) (mention, bool) {
	num := func(i int) int { n, _ := strconv.Atoi(m[i]); return n }
	switch {
	case m[1] != "":
		return onDay(today, num(1), num(2), num(3))
	case m[4] != "":
		return onDay(today, fullYear(m[6], today), num(4), num(5))
	case m[7] != "":
		return onDay(today, num(9), monthOf(m[7]), num(8))
	case m[11] != "":
		return onDay(today, num(12), monthOf(m[11]), num(10))
	case m[13] != "":
		days := map[string]int{"tomorrow": 1, "yesterday": -1, "the day after tomorrow": 2}[m[13]]
		return mention{day: today.AddDate(0, 0, days)}, true
	case m[15] != "":
		for wd := range 7 {
			if strings.EqualFold(time.Weekday(wd).String(), m[15]) {
				ahead := (wd-int(today.Weekday())+6)%7 + 1 // 1 to 7: never today
				if m[14] != "" {
					ahead = -((int(today.Weekday())-wd+6)%7 + 1)
				}
				return mention{day: today.AddDate(0, 0, ahead), weekday: true}, true
			}
		}
	case m[17] != "":
		return mention{day: later(today, num(16), m[17])}, true
	case m[19] != "":
		return mention{day: later(today, -num(18), m[19])}, true
	}
	return mention{}, false
}

func later(day time.Time, n int, unit string) time.Time {
	switch unit {
	case "week":
		return day.AddDate(0, 0, 7*n)
	case "month":
		return day.AddDate(0, n, 0)
	case "year":
		return day.AddDate(n, 0, 0)
	}
	return day.AddDate(0, 0, n)
}

// onDay is a day that exists; year 0 is the one that brings it nearest.
func onDay(today time.Time, year, month, day int) (mention, bool) {
	m := mention{yearless: year == 0}
	best := time.Duration(-1)
	years := []int{year}
	if m.yearless {
		years = []int{today.Year(), today.Year() + 1, today.Year() - 1}
	}
	for _, y := range years {
		t := time.Date(y, time.Month(month), day, 0, 0, 0, 0, time.UTC)
		if t.Day() != day || int(t.Month()) != month || y < 1900 || y > 2200 {
			continue
		}
		if away := t.Sub(today).Abs(); best < 0 || away < best {
			m.day, best = t, away
		}
	}
	return m, best >= 0
}

// fullYear of two digits is within twenty years from now, or past.
func fullYear(s string, today time.Time) int {
	n, _ := strconv.Atoi(s)
	if len(s) == 2 {
		if n += 2000; n > today.Year()+20 {
			n -= 100
		}
	}
	return n
}

func monthOf(name string) int {
	for m := time.January; m <= time.December; m++ {
		if strings.HasPrefix(strings.ToLower(m.String()), name[:3]) {
			return int(m)
		}
	}
	return 0
}
