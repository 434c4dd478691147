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

	spoke func() // called at each word passed on

	mu   sync.Mutex
	skip *overlap        // nil: nothing left to leave out
	part strings.Builder // what the caller heard of the present part of the answer
	sent int             // bytes of words, of this attempt
	last time.Time
	over bool
}

func newSpeaker(a events.Ask, reply func(events.Answer) error) *speaker {
	s := &speaker{turn: a.Turn, attempt: a.Attempt, reply: reply, spoke: func() {}}
	if a.Said != "" {
		s.part.WriteString(a.Said)
		s.skip = newOverlap(a.Said)
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
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
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
	return func() {
		cancel()
		<-stopped
	}
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
	if n := len(strings.TrimSpace(text)); n > 0 {
		s.sent += n
		s.spoke()
	}
	s.part.WriteString(text)
	return s.send(events.Answer{Kind: events.AnswerText, Text: text})
}

// words is how much was said.
func (s *speaker) words() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// heard is what the caller heard of the present part of the answer.
func (s *speaker) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.part.String()
}

// goOn leaves what was heard out of what comes next, should it be repeated.
func (s *speaker) goOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skip = nil
	if s.part.Len() > 0 {
		s.skip = newOverlap(s.part.String())
	}
}

// nextPart begins another part of the answer, after tools. What an earlier
// attempt said may reach into it.
func (s *speaker) nextPart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.skip == nil {
		s.part.Reset()
	}
}

// interject says words that are not the model's, and so no repetition of it.
func (s *speaker) interject(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skip = nil
	_ = s.utter(text) // there is nobody left to tell
}

// settle passes on what was held back: no more words of the model come.
func (s *speaker) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
}

func (s *speaker) flush() {
	if s.skip != nil {
		rest := s.skip.rest()
		s.skip = nil
		_ = s.utter(rest) // there is nobody left to tell
	}
}

func (s *speaker) done(action *events.Action) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	s.over = true
	_ = s.send(events.Answer{Kind: events.AnswerDone, Action: action})
}

func (s *speaker) failed(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	_ = s.send(events.Answer{Kind: events.AnswerFailed, Reason: reason})
}
