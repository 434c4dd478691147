package summarizer

import (
	"encoding/json"
	"strings"
	"testing"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/profile"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// What was left out of the text stays with the caller, sealed; the model saw
// the mark, and what it makes of that is no value.
func TestSealedNumbersStayWithTheCaller(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	first := o.publish(o.fact("CA1", 1, events.CallReceived{From: "+12065550199", To: o.set.Numbers[0]}))
	o.publish(o.fact("CA1", 2, events.TurnHeard{
		Turn: 1, Text: "My name is Ann Lee, it's [POLICY], and the card is [CARD].",
		Sealed: []events.Sealed{{Mark: "[POLICY]", Kind: "policy", Value: "c2VhbGVk"}, {Mark: "[OTHER]", Kind: "other", Value: "bm8="}},
	}))
	o.publish(o.fact("CA1", 3, events.TurnSpoken{Turn: 1, Text: "Thank you."}))
	e := o.end("CA1", 4, first, 1)
	ofModel := claim("memory.policy_number", "[POLICY]", "it's [POLICY]")
	ofModel["sealed"] = "Zm9yZ2Vk"
	forged := claim("personal.name", "Ann Lee", "My name is Ann Lee")
	forged["sealed"] = "Zm9yZ2Vk"
	m := &says{doc: document(ofModel, claim("memory.other", "[CARD]", "the card is [CARD]"), forged)}
	if err := newWorker(o.Platform, o.dir, m.ask).callEnded(t.Context(), e, ended(e)); err != nil {
		t.Fatal(err)
	}
	sum := o.summaries(1)[0].Fact.(events.CallSummarized)
	want := events.Finding{
		Turn: 1, Evidence: "My name is Ann Lee, it's [POLICY], and the card is [CARD].", Subject: "caller",
		Field: "memory.policy_number", Value: "[POLICY]", Confidence: "stated", Sealed: "c2VhbGVk",
	}
	if len(sum.Findings) != 2 || sum.Findings[0] != want || sum.Findings[1].Value != "Ann Lee" || sum.Findings[1].Sealed != "" {
		t.Errorf("findings %+v", sum.Findings)
	}
	for _, r := range sum.Rejected {
		if r.Reason != profile.BadValue && r.Reason != profile.NotSupported || r.Finding.Sealed != "" {
			t.Errorf("rejected %+v", r)
		}
	}
	if len(sum.Rejected) != 2 {
		t.Errorf("rejected %+v", sum.Rejected)
	}
	if asked, _ := m.user.Load().(string); !json.Valid([]byte(asked)) || strings.Contains(asked, "c2VhbGVk") {
		t.Errorf("the model is asked %s", asked)
	}
}
