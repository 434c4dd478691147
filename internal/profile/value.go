package profile

import (
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
)

// normalise brings a value into the one form its field's type has. Only dates
// can be several.
func (g gate) normalise(f events.Field, v string) ([]string, bool) {
	if v == "" {
		return nil, false
	}
	if list, ok := strings.CutPrefix(f.Type, "enum["); ok && len(f.Values) == 0 {
		f.Type, f.Values = "enum", strings.Split(strings.TrimSuffix(list, "]"), ",")
	}
	one := func(s string, ok bool) ([]string, bool) { return []string{s}, ok }
	switch f.Type {
	case "int", "number", "float":
		return one(g.number(f, v))
	case "boolean":
		switch strings.ToLower(v) {
		case "true", "yes":
			return one("true", true)
		case "false", "no":
			return one("false", true)
		}
		return nil, false
	case "enum":
		i := slices.IndexFunc(f.Values, func(w string) bool { return strings.EqualFold(w, v) })
		if i < 0 {
			return nil, false
		}
		return one(f.Values[i], true)
	case "phone":
		return one(phone(v))
	case "email":
		v = spelledEmail(v)
		return one(v, len(v) <= 254 && emailForm.MatchString(v))
	case "date":
		var out []string
		for _, d := range g.datesIn(v) {
			out = append(out, d.value(f.Path))
		}
		return out, true
	}
	return one(v, fold(v) != "")
}

// Corrected is what staff says a field holds, at a time and place, in the form
// its type has; items of a list with commas. It is not ok where the field cannot
// hold that.
func Corrected(f events.Field, v string, at time.Time, zone *time.Location) (value string, ok bool) {
	g := newGate(GateInput{StartedAt: at, Zone: zone})
	all := []string{strings.TrimSpace(v)}
	if of, list := strings.CutPrefix(f.Type, "array["); list {
		f.Type, all = strings.TrimSuffix(of, "]"), items(v)
	}
	for i, v := range all {
		one, ok := g.normalise(f, v)
		if !ok || len(one) != 1 {
			return "", false
		}
		all[i] = one[0]
	}
	return strings.Join(all, ", "), len(all) > 0
}

// number is v's one number, in plain decimal digits.
func (g gate) number(f events.Field, v string) (string, bool) {
	if negative.MatchString(v) {
		return "", false
	}
	all := numbersIn(v)
	if len(all) != 1 || all[0].Cmp(maxNumber) > 0 {
		return "", false
	}
	n := all[0]
	if f.Type == "int" && !n.IsInt() {
		return "", false
	}
	if strings.HasSuffix(f.Path, ".year") {
		next := int64(g.StartedAt.In(g.Zone).Year() + 1)
		y := n.Num().Int64()
		if !n.IsInt() {
			return "", false
		}
		if y < 100 { // "an 09 Civic"
			y += 2000
			if y > next {
				y -= 100
			}
		}
		if y < 1900 || y > next {
			return "", false
		}
		n = new(big.Rat).SetInt64(y)
	}
	return decimal(n), true
}

var (
	negative  = regexp.MustCompile(`(^|\s)[-−]\s*[$0-9]`)
	maxNumber = big.NewRat(1_000_000_000_000, 1)
	half      = big.NewRat(1, 2)
)

// decimal writes n exactly; numbersIn yields none that cannot be.
func decimal(n *big.Rat) string {
	digits, _ := n.FloatPrec()
	return n.FloatString(digits)
}

var (
	numberToken = regexp.MustCompile(`[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|[a-z]+`)
	small       = words("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen", 0, 1)
	tens        = words("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10)
	scales      = map[string]int64{"hundred": 100, "thousand": 1000, "k": 1000, "grand": 1000, "million": 1_000_000, "m": 1_000_000}
)

func words(list string, first, step int64) map[string]int64 {
	out := map[string]int64{}
	for i, w := range strings.Fields(list) {
		out[w] = first + int64(i)*step
	}
	return out
}

// numbersIn are the numbers of a text in the order said, in digits or words:
// "4,312", "250k", "two hundred and fifty thousand", "2 and a half". Two that
// may be a year, as in "twenty nineteen", are that year.
func numbersIn(text string) (out []*big.Rat) {
	for _, n := range numbersAt(strings.ToLower(text)) {
		out = append(out, n.n)
	}
	return out
}

// spoken is a number and its place in a text in small letters.
type spoken struct {
	n        *big.Rat
	from, to int
}

func numbersAt(low string) []spoken {
	r := numberReader{}
	for _, at := range numberToken.FindAllStringIndex(low, -1) {
		r.at = at
		r.token(low[at[0]:at[1]])
	}
	r.flush()
	return r.out
}

// numberReader puts a number together, word by word.
type numberReader struct {
	out        []spoken
	at         []int    // where the token is
	from, to   int      // where the number begun is
	total, cur *big.Rat // cur nil: none begun
	room       int64    // what may be added now is less than this
	gap        bool     // "and" or "a" came in between
	century    bool     // the last of out is a spoken 19 or 20, and nothing came since
}

func (r *numberReader) token(tok string) {
	scale, isScale := scales[tok]
	switch {
	case tok[0] >= '0' && tok[0] <= '9':
		n, ok := new(big.Rat).SetString(strings.ReplaceAll(tok, ",", ""))
		r.flush()
		r.century = false
		if ok && len(tok) <= 20 {
			r.begin(n)
		}
	case isScale && r.cur != nil:
		if len(tok) > 1 || !r.gap {
			r.scale(scale)
		}
	case tok == "hundred":
		r.begin(big.NewRat(1, 1))
		r.scale(scale)
	case tok == "half":
		if r.cur == nil {
			r.begin(new(big.Rat))
		}
		r.cur.Add(r.cur, half)
		r.room, r.gap, r.to = 0, false, r.at[1]
	case tok == "and" || tok == "a":
		r.gap, r.century = r.cur != nil, false
	default:
		if n, ok := small[tok]; ok {
			r.add(n, 1)
		} else if n, ok := tens[tok]; ok {
			r.add(n, 10)
		} else {
			r.flush()
			r.century = false
		}
	}
}

// add joins a word to the number begun, where speech does so, or begins one.
func (r *numberReader) add(n, next int64) {
	if r.cur != nil && n > 0 && n < r.room && (!r.gap || r.room >= 100) {
		r.cur.Add(r.cur, new(big.Rat).SetInt64(n))
		r.to = r.at[1]
	} else {
		r.flush()
		r.begin(new(big.Rat).SetInt64(n))
	}
	r.room, r.gap = next, false
}

func (r *numberReader) begin(n *big.Rat) {
	r.cur, r.total, r.room, r.gap = n, new(big.Rat), 0, false
	r.from, r.to = r.at[0], r.at[1]
}

func (r *numberReader) scale(by int64) {
	r.cur.Mul(r.cur, new(big.Rat).SetInt64(by))
	if by > 100 {
		r.total.Add(r.total, r.cur)
		r.cur = new(big.Rat)
	}
	r.room, r.gap, r.to = by, false, r.at[1]
}

func (r *numberReader) flush() {
	if r.cur == nil {
		return
	}
	n := r.total.Add(r.total, r.cur)
	v, afterCentury := int64(-1), r.century
	if n.IsInt() && n.Num().IsInt64() {
		v = n.Num().Int64()
	}
	r.century = !r.gap && (v == 19 || v == 20)
	r.cur, r.gap = nil, false
	if afterCentury && v >= 10 && v < 100 {
		last := &r.out[len(r.out)-1]
		last.n.Mul(last.n, big.NewRat(100, 1)).Add(last.n, n)
		last.to, r.century = r.to, false
		return
	}
	r.out = append(r.out, spoken{n, r.from, r.to})
}

// phone is E.164; a number without its country is of North America. One
// without its area cannot be dialled and is none.
func phone(v string) (string, bool) {
	d := digitsIn(v)
	switch {
	case strings.HasPrefix(v, "+") && len(d) >= 8 && len(d) <= 15 && d[0] != '0':
		return "+" + d, true
	case strings.HasPrefix(v, "+"):
		return "", false
	case len(d) == 10:
		return "+1" + d, true
	case len(d) == 11 && d[0] == '1':
		return "+" + d, true
	}
	return "", false
}

// digitsIn are all digits of a text, also those said as words, "double seven"
// too.
func digitsIn(s string) string {
	var b strings.Builder
	times := 1
	for _, w := range hear(s).words {
		if n := repeats[w.text]; n > 0 {
			times = n
			continue
		}
		if d := digits(w); d != "" {
			b.WriteString(strings.Repeat(d, times))
		}
		times = 1
	}
	return b.String()
}

// digits are what a word adds to a number said digit by digit.
func digits(w word) string {
	switch n, ok := small[w.text]; {
	case ok && n < 10:
		return strconv.FormatInt(n, 10)
	case w.text == "oh" || w.text == "o":
		return "0"
	case w.text[0] >= '0' && w.text[0] <= '9':
		return w.text
	}
	return ""
}

var (
	emailForm = regexp.MustCompile(`^[a-z0-9._%+-]+@[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}$`)
	spelling  = strings.NewReplacer(" at ", "@", " dot ", ".", " underscore ", "_", " dash ", "-", " hyphen ", "-", " plus ", "+")
)

// spelledEmail joins an address said in words: "ann at example dot com".
func spelledEmail(s string) string {
	return strings.ReplaceAll(spelling.Replace(strings.ToLower(s)), " ", "")
}
