package conversation

import (
	"context"
	"strings"
	"sync"
	"time"

	"neurosphere.ai/neurosphere/events"
)

// speaker sends the steps of one answer to the owner of the call, leaving out
// what the caller has heard already.
type speaker struct {
	turn, attempt int
	reply         func(events.Answer) error

	mu   sync.Mutex
	skip *overlap // nil: nothing left to leave out
	sent int      // bytes of words
	last time.Time
	over bool
}

func newSpeaker(a events.Ask, reply func(events.Answer) error) *speaker {
	s := &speaker{turn: a.Turn, attempt: a.Attempt, reply: reply}
	if a.Said != "" {
		s.skip = &overlap{said: a.Said}
	}
	return s
}

func (s *speaker) send(a events.Answer) error {
	a.Turn, a.Attempt = s.turn, s.attempt
	s.last = time.Now()
	return s.reply(a)
}

func (s *speaker) beat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		_ = s.send(events.Answer{Kind: events.AnswerBeat})
	}
}

// beating beats whenever nothing else is sent; call what it returns to stop.
func (s *speaker) beating(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s.mu.Lock()
				quiet := time.Since(s.last) >= beatEvery/2
				s.mu.Unlock()
				if quiet {
					s.beat()
				}
			}
		}
	}()
	return cancel
}

// say passes words on.
func (s *speaker) say(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.skip != nil {
		rest, decided := s.skip.feed(text)
		if !decided {
			return nil
		}
		s.skip, text = nil, rest
	}
	return s.utter(text)
}

func (s *speaker) utter(text string) error {
	if text == "" || s.over {
		return nil
	}
	s.sent += len(strings.TrimSpace(text))
	return s.send(events.Answer{Kind: events.AnswerText, Text: text})
}

// words is how much was said.
func (s *speaker) words() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// resumeAfter leaves heard out of what comes next, should it be repeated.
func (s *speaker) resumeAfter(heard string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skip = &overlap{said: heard}
}

func (s *speaker) done(action *events.Action) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.skip != nil {
		_ = s.utter(s.skip.rest())
		s.skip = nil
	}
	s.over = true
	_ = s.send(events.Answer{Kind: events.AnswerDone, Action: action})
}

func (s *speaker) failed(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	_ = s.send(events.Answer{Kind: events.AnswerFailed, Reason: reason})
}

// overlap finds out whether words that come after said begin with said over
// again, as they do when a model starts from scratch, or go on from it.
type overlap struct {
	said string
	got  strings.Builder
}

// feed takes the next words. While they might still be said over again it is
// undecided; then rest is what is new in all of them.
func (o *overlap) feed(text string) (rest string, decided bool) {
	o.got.WriteString(text)
	got := o.got.String()
	n := common(o.said, got)
	switch {
	case n.saidDone:
		return got[n.got:], true
	case n.gotDone:
		return "", false
	}
	return o.goesOn(got), true
}

// rest is what is new when no more words come.
func (o *overlap) rest() string {
	if got := o.got.String(); !common(o.said, got).gotDone {
		return o.goesOn(got)
	}
	return ""
}

// goesOn is got without the words that said ends with.
func (o *overlap) goesOn(got string) string {
	tail := strings.Fields(o.said)
	head := strings.Fields(got)
	for n := min(len(tail), len(head), 12); n > 1; n-- {
		if strings.EqualFold(strings.Join(tail[len(tail)-n:], " "), strings.Join(head[:n], " ")) {
			rest := got
			for range n {
				rest = strings.TrimLeft(rest, " \n\t")
				if i := strings.IndexAny(rest, " \n\t"); i >= 0 {
					rest = rest[i:]
				} else {
					rest = ""
				}
			}
			return rest
		}
	}
	return got
}

// match is how far two texts agree, spaces aside.
type match struct {
	got               int // bytes of the second that agree
	saidDone, gotDone bool
}

func common(said, got string) match {
	i, j := 0, 0
	for {
		for i < len(said) && space(said[i]) {
			i++
		}
		if i == len(said) {
			return match{got: j, saidDone: true}
		}
		for j < len(got) && space(got[j]) {
			j++
		}
		if j == len(got) {
			return match{got: j, gotDone: true}
		}
		if said[i] != got[j] {
			return match{got: j}
		}
		i++
		j++
	}
}

func space(c byte) bool { return c == ' ' || c == '\n' || c == '\t' }
