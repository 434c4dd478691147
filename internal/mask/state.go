package mask

import (
	"slices"
	"strings"
)

// questions are what an agent's words ask for; asked tells that they ask for
// something.
func questions(text string) (asks kinds, asked bool) {
	t := &turn{c: &Conversation{money: true}, text: text, words: split(text)}
	for from := 0; from < len(t.words); {
		to := from
		for to < len(t.words) && t.words[to].stop == 0 {
			to++
		}
		end := min(to+1, len(t.words))
		ask, echo := to < len(t.words) && t.words[to].stop == '?', t.echo(from)
		more := true
		for _, w := range t.words[from:end] {
			ask = ask || asking[w.low] && !echo
			more = more && (goingOn[w.low] || w.what != plain)
		}
		switch strong, weak := t.wanted(from, end); {
		case t.low(from) == "you" && t.low(from+1) == "are" && t.low(from+2) == "asking":
		case ask && !more && strong == 0:
			asked = true
			asks |= weak
		case ask && !more, strong != 0 && end-from <= 6 && !echo: // "Account number and PIN."
			asked = true
			asks |= strong
		}
		from = end
	}
	return asks, asked
}

// echo reports whether a sentence says the caller's own words back: "So you
// need a new card."
func (t *turn) echo(from int) bool {
	first := t.low(from)
	return echoes[first] || first == "so" && !leads[t.low(from+1)]
}

// wanted are the kinds a sentence names, and those it may only mention: "the
// phone number on your account".
func (t *turn) wanted(from, to int) (strong, weak kinds) {
	for j := from; j < to; j++ {
		c := t.cueAt(j, to)
		switch {
		case amounts[t.words[j].low]:
			weak.add(free)
		case t.words[j].low == "when":
			weak.add(date)
		case c.kind == none || c.kind == month:
		case c.strong && c.kind != secret:
			strong.add(c.kind)
		case c.kind == ref: // "would you like to report it?"
			weak.add(free)
		default:
			weak.add(c.kind)
		}
	}
	if strong.has(phone) && weak.has(secret) {
		strong.add(free) // "the last four digits of your phone"
	}
	return strong, weak
}

// note keeps what later turns need to know.
func (t *turn) note() {
	c := t.c
	c.life--
	before := c.asked
	for i, k := range t.is {
		n := t.numbers[i]
		digits, own := len(n.digits), t.own[i]
		if n.what == marked { // masked before, by whoever had the call: some digits of it
			k, digits, own = markedAs(t.low(n.first)), 4, true
		}
		if k.isSecret() {
			c.money = c.money || k == secret && !c.insured // somebody is being verified
			t.went(k, digits, own)
		}
	}
	switch {
	case t.chatty > 0 || len(t.numbers) == 0 && c.loose > 0 && len(t.words) > 3:
		c.loose = 0
	default:
		for i, n := range t.numbers {
			if !t.is[i].isSecret() {
				c.loose += len(n.digits)
			}
		}
	}
	answered := !c.asked.secrets() && len(t.numbers) > 0 && t.chatty > 0
	if c.life <= 0 && before == c.asked || answered {
		c.asked = 0
	}
	t.announced()
}

func markedAs(mark string) kind {
	for k, m := range marks {
		if m == mark {
			return k
		}
	}
	return none
}

// full is how many digits a number of a kind has at most.
var full = map[kind]int{ssn: 9, card: 19, cvv: 4, expiry: 6, account: 17, pin: 8, secret: 19}

// went on: some digits of a kind were said, and others may follow.
func (t *turn) went(k kind, digits int, own bool) {
	c := t.c
	switch {
	case c.asked.has(k) && c.asked.secrets():
		if c.begun {
			digits += c.digits
		}
	case !own:
		return
	case digits == 4 && k != card, digits == full[k], k == account && digits > 5, k == card && digits > 12, k == secret:
		return // said in full, or its last digits
	default:
		c.asked, c.own = 1<<k, true
	}
	c.begun, c.digits, c.life = true, digits, turnsWaited
	if digits >= full[k] {
		c.asked &^= 1 << k
		c.begun, c.digits = false, 0
	}
}

// announced takes what the caller is about to say: "my card number is".
func (t *turn) announced() {
	from := max(0, len(t.words)-6)
	if n := len(t.numbers); n > 0 {
		from = max(from, t.numbers[n-1].last+1)
	}
	for j := len(t.words) - 1; j >= from; j-- {
		c := t.cueAt(j, len(t.words))
		if c.kind == none || c.kind == secret || c.kind == month {
			continue
		}
		end := t.low(len(t.words) - 1)
		if c.strong && c.kind.isSecret() || (end == "is" || numberWords[end]) && !t.asks() {
			t.c.ask(1<<c.kind, true)
		}
		return
	}
}

// asks reports whether the caller asks for something.
func (t *turn) asks() bool {
	return slices.ContainsFunc(t.words, func(w word) bool { return asking[w.low] || w.stop == '?' })
}

// masked is the turn with marks in the place of numbers.
func (t *turn) masked() Masked {
	m := Masked{}
	var b strings.Builder
	at, last := 0, -1
	for i, k := range t.is {
		if !k.isSecret() && k != policy && k != claim {
			continue
		}
		n := t.numbers[i]
		first := n.first
		f := Found{Mark: marks[k], Kind: names[k]}
		if k == policy || k == claim {
			first = max(t.prefix(n), last+1)
			f.Value = t.text[t.words[first].from:t.words[n.last].to]
		}
		b.WriteString(t.text[at:t.words[first].from])
		b.WriteString(f.Mark)
		at, last = t.words[n.last].to, n.last
		m.Found = append(m.Found, f)
	}
	if m.Found == nil {
		m.Text = t.text
		return m
	}
	b.WriteString(t.text[at:])
	m.Text = b.String()
	return m
}
