package mask

import "strings"

// turn is what the caller said once.
type turn struct {
	c       *Conversation
	text    string
	keys    bool
	words   []word
	numbers []number
	is      []kind // what each number is; none and free stay
	own     []bool // said so by the caller, not asked for
	chatty  int    // words that are neither numbers nor polite
}

func newTurn(c *Conversation, text string, keys bool) *turn {
	t := &turn{c: c, text: text, keys: keys, words: split(text)}
	t.numbers = numbers(text, t.words)
	t.is, t.own = make([]kind, len(t.numbers)), make([]bool, len(t.numbers))
	in := 0
	for i, w := range t.words {
		for in < len(t.numbers) && t.numbers[in].last < i {
			in++
		}
		if w.what == plain && !polite[w.low] && !(in < len(t.numbers) && i >= t.numbers[in].first) {
			t.chatty++
		}
		t.c.money = t.c.money || banking[w.low]
		t.c.insured = t.c.insured || insurance[w.low]
	}
	return t
}

// judge says of each number what it is.
func (t *turn) judge() {
	for i := range t.numbers {
		t.is[i] = t.kindOf(i)
	}
}

func (t *turn) kindOf(i int) kind {
	n := t.numbers[i]
	if n.what == marked || t.counts(i) {
		return none
	}
	h := t.hint(i)
	switch n.what {
	case format:
		return t.formatted(n, h)
	case code:
		return t.coded(n, h)
	}
	if k := t.shaped(n, h); k != none {
		return k
	}
	if d := len(n.digits); t.c.asked.has(expiry) && !t.c.begun && h.kind < secret && d >= 3 && d <= 6 {
		return expiry
	}
	if k, ok := t.called(i, h); ok {
		t.own[i] = k.isSecret()
		return k
	}
	if k, ok := t.answered(n, h); ok {
		return k
	}
	return t.bare(i)
}

// hint is the cue that says best what a number is.
type hint struct {
	cue
	far    int  // words away; more where less sure
	before bool // in a sentence before the number's
}

const nowhere = 1000

// hint looks before a number, then behind it: "8711 is the ssn".
func (t *turn) hint(i int) hint {
	n := t.numbers[i]
	from := max(0, n.first-12)
	if i > 0 {
		from = max(from, t.numbers[i-1].last+1)
	}
	best := hint{far: nowhere}
	stops := 0
	for j := n.first - 1; j >= from; j-- {
		if t.words[j].stop != 0 {
			stops++
		}
		c := t.cueAt(j, n.first)
		if c.kind == none {
			continue
		}
		far := n.first - j + 4*stops
		if !c.strong {
			far += 2
		}
		if c.kind == secret {
			far += 8 // whatever is named beside it
		} else if c.kind.isSecret() && c.strong && t.low(n.first-1) == "is" {
			far -= 2 // "the account number … is"
		}
		if far < best.far || far == best.far && c.kind.isSecret() {
			best = hint{c, far, stops > 0}
		}
	}
	if best.kind == none || best.kind == secret {
		if c := t.after(i); c.kind != none {
			return hint{cue: c, far: 3}
		}
	}
	if best.kind == none && i > 0 && t.chained(i) {
		return hint{cue: cue{t.is[i-1], true}, far: 1}
	}
	return best
}

// cueAt is what the word at j says of numbers near it, before end.
func (t *turn) cueAt(j, end int) cue {
	w := t.words[j]
	c, ok := cues[w.low]
	if !ok {
		c = cues[strings.TrimSuffix(strings.TrimSuffix(w.low, "'s"), "’s")]
	}
	near := func(from, to int, of map[string]bool) bool {
		for k := max(0, from); k < min(to, end, len(t.words)); k++ {
			if of[t.words[k].low] {
				return true
			}
		}
		return false
	}
	switch {
	case w.low == "code" || w.low == "codes":
		if k, ok := codes[t.low(j-1)]; ok {
			return cue{k, true}
		}
		if near(j-3, j, threeWord) || near(j+1, j+5, backWord) {
			return cue{cvv, true}
		}
		if t.c.money && its[t.low(j-1)] {
			return cue{cvv, true} // "my card is …, and the code is 927"
		}
		return cue{pin, false}
	case w.low == "security" && j > 0 && t.words[j-1].low == "social":
		return cue{ssn, true}
	case onBack[w.low] && near(j+1, j+5, sideWord) && near(j-2, j, theirWord):
		return cue{cvv, true} // "the three digits on the back"
	case w.low == "digits" || w.low == "digit" || w.low == "four" || w.low == "4":
		if near(j-2, j, lastWord) {
			return cue{secret, true}
		}
		return cue{}
	case c.kind == month:
		if end-j > 2 {
			return cue{}
		}
		return cue{free, true}
	case c.kind == expiry && !t.c.money && !t.c.asked.has(card):
		return cue{free, false} // of a policy, a lease
	case c.kind == account && w.low != "account" && w.low != "accounts" && len(w.low) <= 3 && !near(j+1, j+3, numberWords) && !t.c.money:
		return cue{}
	case c.kind != none && !c.strong && (near(j+1, j+3, numberWords) || c.kind.isSecret() && near(j-4, j, digitWords)):
		c.strong = true
	}
	return c
}

var (
	lastWord   = set("last final")
	threeWord  = set("three 3 three-digit")
	onBack     = set("digit digits number numbers three 3")
	sideWord   = set("back reverse")
	its        = set("the its it's and")
	theirWord  = set("three 3 three-digit last final security")
	backWord   = set("back card")
	digitWords = set("number numbers digits digit")
)

// after is a cue that follows a number and belongs to no other.
func (t *turn) after(i int) cue {
	n := t.numbers[i]
	end := len(t.words)
	if i+1 < len(t.numbers) {
		end = t.numbers[i+1].first
	}
	for j := n.last + 1; j < min(end, n.last+5); j++ {
		if t.words[j-1].stop != 0 {
			break
		}
		c := t.cueAt(j, end)
		if c.kind == none {
			if !linking[t.words[j].low] {
				break
			}
			continue
		}
		if end < len(t.words) && end-j <= 3 {
			break // it names the next
		}
		if c.kind.isSecret() && (j == n.last+1 || t.words[j-1].low != "to") {
			return cue{c.kind, true}
		}
		break
	}
	return cue{}
}

var linking = set("is was are for on as of the my a your it its it's that's")

// chained reports whether a number is said in one breath with the one before:
// "2383 instead of 2283".
func (t *turn) chained(i int) bool {
	before := t.numbers[i-1]
	for j := before.last + 1; j < t.numbers[i].first; j++ {
		if !connectors[t.words[j].low] {
			return false
		}
	}
	if len(before.digits) != len(t.numbers[i].digits) && t.c.asked.secrets() {
		return false // two things were asked for
	}
	return t.is[i-1].isSecret() || t.is[i-1] != none && len(before.digits) >= 3
}

// counts reports whether a number says how many, or is part of a name: "last
// four digits", "300 dollars", "4th", "48 Larch Street".
func (t *turn) counts(i int) bool {
	n := t.numbers[i]
	next, nextButOne := t.low(n.last+1), t.low(n.last+2)
	if t.words[n.last].stop != 0 {
		next, nextButOne = "", ""
	}
	switch {
	case n.digits == "":
		return true
	case n.bySpeech && n.said == 1 && len(n.digits) == 1 && !t.digitsOnly():
		return true
	case len(n.digits) <= 2 && (next == "digits" || next == "digit" || next == "numbers" || next == "letters"), lastWord[t.low(n.first-1)] && len(n.digits) == 1:
		return true
	case units[next] && len(n.digits) <= 7, next == "square" || nextButOne == "feet":
		return true
	case n.scaled:
		if h := t.hint(i); h.strong && h.kind.isSecret() && len(n.digits) >= 7 {
			return false // "my social is four hundred fifty six …"
		}
		return !t.c.asked.secrets() || t.chatty > 2
	case n.what == code:
		tail := strings.TrimLeft(t.words[n.first].low, "0123456789")
		return units[tail] || tail == "s"
	case len(n.groups) == 1 && len(n.digits) <= 5:
		return t.street(n)
	}
	return false
}

// street reports whether the words after a number name a street, or an address
// of an e-mail goes on.
func (t *turn) street(n number) bool {
	for j := n.last + 1; j < min(len(t.words), n.last+5); j++ {
		w := t.words[j]
		if t.words[j-1].stop != 0 || w.what != plain && w.what != code && len(w.digits) > 2 {
			return false
		}
		if j > n.last+1 && streets[w.low] {
			return true
		}
		if j == n.last+1 && (strings.HasSuffix(w.low, "com") || strings.Contains(w.low, "mail")) {
			return true
		}
		if cues[w.low].kind.isSecret() {
			return false
		}
	}
	return false
}

func (t *turn) low(i int) string {
	if i < 0 || i >= len(t.words) {
		return ""
	}
	return t.words[i].low
}

// digitsOnly: nothing was said but numbers, and "okay" and the like.
func (t *turn) digitsOnly() bool { return t.chatty == 0 }

// formatted digits say themselves what they are, except a card's expiry.
func (t *turn) formatted(n number, h hint) kind {
	slash := strings.Count(t.text[t.words[n.first].from:t.words[n.first].to], "/")
	short := slash == 1 && len(n.digits) <= 6
	if short && (h.kind == expiry || !h.kind.stays() && (t.c.asked.has(expiry) || t.c.asked.has(card))) {
		return expiry
	}
	return free
}

// coded is a word with digits in it.
func (t *turn) coded(n number, h hint) kind {
	vin := len(t.words[n.first].low) == 17
	long := len(n.digits) >= 7 && !vin
	switch {
	case isCard(n.digits) || len(n.digits) >= 13 && !vin && !h.kind.stays():
		return card
	case h.kind.isSecret() && len(n.digits) >= 3 && (h.strong || long):
		return h.kind
	case h.kind != none && h.kind != secret:
		return free
	case t.c.asked.secrets() && !t.c.begun && len(n.digits) >= 3:
		return t.c.fit(len(n.digits))
	case t.c.asked == 0 && long && t.c.insured:
		return policy
	case t.c.asked == 0 && long && (t.c.money || len(n.digits) >= 9):
		return secret
	}
	return none
}

// shaped numbers leave no doubt.
func (t *turn) shaped(n number, h hint) kind {
	d := len(n.digits)
	named := h.kind.stays()
	if d >= 13 && d <= 19 && !isDates(n) {
		if isCard(n.digits) || !named {
			switch {
			case isCard(n.digits):
				return card
			case h.kind == account, h.kind == none && t.c.asked.has(account) && !t.c.asked.has(card):
				return account
			case t.c.insured && !t.c.money && t.prefix(n) < n.first:
				return policy
			}
			return card
		}
	}
	if n.hyphens && len(n.groups) == 3 && n.groups[0] == 3 && n.groups[1] == 2 && n.groups[2] == 4 {
		return ssn
	}
	return none
}

// isDates reports whether a run is dates and years, one after another.
func isDates(n number) bool {
	at := 0
	for _, g := range n.groups {
		if d := n.digits[at : at+g]; !isYear(d) && !(g == 8 && isDate(d)) {
			return false
		}
		at += g
	}
	return true
}

// isCard: the first digits are an issuer's, and the last one checks.
func isCard(d string) bool {
	if len(d) < 13 || len(d) > 19 || d[0] < '2' || d[0] > '6' {
		return false
	}
	sum := 0
	for i := range len(d) {
		v := int(d[len(d)-1-i] - '0')
		if i%2 == 1 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}

// called is what the caller calls a number.
func (t *turn) called(i int, h hint) (kind, bool) {
	n, d := t.numbers[i], len(t.numbers[i].digits)
	year := isYear(n.digits) && len(n.groups) <= 2
	switch k := h.kind; {
	case d >= 4 && !year && t.moved(n):
		return account, true
	case k == none:
		return none, false
	case k == expiry:
		return k, d >= 3 && d <= 6
	case k == ssn && d == 2 && i > 0 && t.is[i-1] == ssn && t.chained(i):
		return k, true // in the middle of one
	case k.isSecret() && h.strong:
		return k, d >= 3 && !(year && h.far > 6)
	case k.isSecret():
		return k, d >= 4 && !(year && h.far > 3)
	case h.before && k < ref && d >= 7 && !isPhone(n):
		return none, false
	case h.strong:
		return free, true
	case t.c.asked.secrets() && !t.c.begun && !year:
		return none, false // what was asked for
	}
	return free, d <= 8 || d == 10
}

// moved reports whether money goes to or from the number.
func (t *turn) moved(n number) bool {
	if w := t.low(n.first - 1); w != "to" && w != "from" && w != "into" {
		return false
	}
	for _, w := range t.words[:n.first] {
		if strings.HasPrefix(w.low, "transfer") || w.low == "move" || w.low == "send" || w.low == "wire" {
			return true
		}
	}
	return false
}

// answered is what the agent asked for, or the caller began to say.
func (t *turn) answered(n number, h hint) (kind, bool) {
	c := t.c
	d := len(n.digits)
	switch {
	case c.asked == 0:
		return none, false
	case !c.asked.secrets():
		return free, t.fits(n)
	case c.begun && t.chatty > 2:
		return none, false
	case isYear(n.digits) && (h.kind.stays() || t.named(n) || t.chatty > 2 && yearly[t.low(n.first-1)]):
		return free, true
	case c.own && (d < 3 && !(c.begun && d == 2 && t.digitsOnly()) || c.begun && c.digits <= 4 && (isDate(n.digits) || isYear(n.digits) || endsInYear(n))):
		return free, true
	case n.bySpeech && n.said < 2 && !t.digitsOnly(), d < 3 && t.chatty > 2:
		return none, true
	case c.asked.has(phone) && isPhone(n), c.asked.has(date) && isDate(n.digits):
		return free, true
	}
	return c.fit(d), true
}

// yearly words come before years.
var yearly = set("in since until")

// fits reports whether a number can be what was asked for, where that stays.
// The caller may answer something else.
func (t *turn) fits(n number) bool {
	d := len(n.digits)
	switch asked := t.c.asked; {
	case asked.has(policy), asked.has(claim), asked.has(ref), asked.has(free) && d <= 8:
		return true
	case asked.has(phone) && (isPhone(n) || d == 7 || d < 4 || t.c.loose > 0 && d == 4):
		return true
	}
	return t.c.asked.has(date) && (isYear(n.digits) || isDate(n.digits) || endsInYear(n))
}

// named reports whether a word that is no polite one follows: "2016 Honda".
func (t *turn) named(n number) bool {
	next := t.low(n.last + 1)
	if n.last+2 < len(t.words) && t.words[n.last+2].digits != "" {
		return false // "2567 and 5478"
	}
	return next != "" && t.words[n.last].stop == 0 && !polite[next] && cues[next].kind == none && t.words[n.last+1].what == plain
}

// fit is the kind asked for that a number of d digits is.
func (c *Conversation) fit(d int) kind {
	total := d
	if c.begun {
		total += c.digits
	}
	for _, f := range []struct {
		kind     kind
		min, max int
	}{{card, 13, 19}, {cvv, 3, 3}, {ssn, 9, 9}, {ssn, 4, 4}, {pin, 4, 6}, {expiry, 4, 4}, {account, 5, 17}, {card, 4, 4}, {account, 4, 4}} {
		if c.asked.has(f.kind) && (total >= f.min && total <= f.max || d >= f.min && d <= f.max) {
			return f.kind
		}
	}
	for k := secret; k <= pin; k++ {
		if c.asked.has(k) && k != secret {
			return k
		}
	}
	return secret
}

// bare is what a number is of which nothing is known but its shape.
func (t *turn) bare(i int) kind {
	n := t.numbers[i]
	d := len(n.digits)
	if plus := t.words[n.first].from; plus > 0 && t.text[plus-1] == '+' && d >= 8 {
		return free
	}
	switch {
	case d < 4:
		if t.digitsOnly() && d > 0 && t.c.loose+d >= 7 {
			return secret
		}
		return none
	case t.keys && (d < 6 || d == 10): // a choice, an extension, a phone
		return free
	case t.keys:
		return secret
	case d <= 8 && strings.HasSuffix(n.digits, "000"):
		return none // an amount
	case d == 4:
		if isYear(n.digits) || !t.alone(i) {
			return none
		}
		return secret
	case d == 5:
		if t.digitsOnly() && (t.c.loose > 0 || t.c.money) {
			return secret
		}
		return none
	case d == 6:
		if isDate(n.digits) || endsInYear(n) || !t.alone(i) {
			return none
		}
		return secret
	}
	return t.long(n)
}

// long is a bare number of seven digits or more.
func (t *turn) long(n number) kind {
	d := len(n.digits)
	switch {
	case d == 8 && isDate(n.digits), isDates(n), endsInYear(n):
		return free
	case t.c.insured && d >= 8 && (t.prefix(n) < n.first || !t.c.money && !isPhone(n)):
		return policy
	case isPhone(n) && (!t.c.money || len(n.groups) > 1):
		return free
	}
	return secret
}

// endsInYear: "maruti 800 2011" is two numbers.
func endsInYear(n number) bool {
	last := len(n.groups) - 1
	return last > 0 && n.groups[last] == 4 && isYear(n.digits[len(n.digits)-4:]) && len(n.digits) <= 8
}

// isPhone: as people say the number of a phone.
func isPhone(n number) bool {
	switch len(n.digits) {
	case 10:
		return !n.hyphens || len(n.groups) == 1 || n.groups[0] == 3
	case 11:
		return n.digits[0] == '1' || n.digits[0] == '0'
	case 7:
		return len(n.groups) == 2 && n.groups[0] == 3 || n.bySpeech
	}
	return false
}

// prefix is the first word of a number with the letters that lead it: "PVX
// 752198306".
func (t *turn) prefix(n number) int {
	w := t.low(n.first - 1)
	if len(w) < 2 || len(w) > 4 || polite[w] || cues[w].kind != none || numberWords[w] || t.words[n.first-1].what != plain || t.words[n.first-1].stop != 0 {
		return n.first
	}
	return n.first - 1
}

// alone reports whether a number is all there is to say, or ends what is: not
// part of a sentence that goes on after it.
func (t *turn) alone(i int) bool {
	n := t.numbers[i]
	if t.named(n) || t.chatty > 5 {
		return false
	}
	return !leading[t.low(n.first-1)]
}

// leading words come before amounts and places.
var leading = set("about around than over under at in by from to")
