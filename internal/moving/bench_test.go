package moving_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/moving"
)

// BenchmarkMoving moves a tenant of 100,000 facts, or as many as MOVING_FACTS
// says, as its share of a log twice as long.
func BenchmarkMoving(b *testing.B) {
	n := 100_000
	if v, err := strconv.Atoi(os.Getenv("MOVING_FACTS")); err == nil {
		n = v
	}
	from := newPlace(b, "ab")
	stays, moves := from.tenant("Stays"), from.tenant("Moves")
	facts := func(yield func(events.Event, error) bool) {
		for i := range n / 10 {
			call, caller := fmt.Sprint("CA", i), fmt.Sprintf("+1206%07d", i%5000)
			for seq, f := range []events.Fact{
				events.CallReceived{From: caller, To: "+12065559990"},
				events.CallAnswered{Session: "s", Greeting: "Hello."},
				events.TurnHeard{Turn: 1, Text: "I have a question."},
				events.TurnSpoken{Turn: 1, Text: "What is it?"},
				events.TurnHeard{Turn: 2, Text: "What do you cost?"},
				events.TurnSpoken{Turn: 2, Text: "Nothing."},
				events.TurnHeard{Turn: 3, Text: "Thank you."},
				events.TurnSpoken{Turn: 3, Text: "Goodbye."},
				events.CallEnded{From: caller, To: "+12065559990", StartedAt: began, EndedAt: began.Add(time.Minute), Seconds: 60, Reason: events.EndCaller, Turns: 3, Answered: true},
				summary(caller, "Somebody"),
			} {
				for _, t := range []events.Tenant{moves.Tenant, stays.Tenant} {
					e := events.New(t, call, began, f)
					e.CallSeq = seq + 1
					if !yield(e, nil) {
						return
					}
				}
			}
		}
	}
	if err := from.bus.PublishAll(b.Context(), facts, nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		o := from.options(filepath.Join(b.TempDir(), "moves.tar.gz"))
		began := time.Now()
		man, err := moving.Export(b.Context(), from.bus, from.db.Store, moves.Tenant, o)
		if err != nil {
			b.Fatal(err)
		}
		exported := time.Since(began)
		to := newPlace(b, "cd")
		info, err := os.Stat(o.File)
		if err != nil {
			b.Fatal(err)
		}
		began = time.Now()
		if _, err := moving.Import(b.Context(), to.bus, to.db.Store, to.options(o.File)); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(man.Facts.Count)/exported.Seconds(), "exported/s")
		b.ReportMetric(float64(man.Facts.Count)/time.Since(began).Seconds(), "imported/s")
		b.ReportMetric(float64(info.Size())/float64(man.Facts.Count), "B/fact")
	}
}
