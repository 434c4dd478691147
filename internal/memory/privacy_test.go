package memory

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/privacy"
)

// eve calls a business that has her exported and erased.
const eve = "+12065550166"

// eraser is whoever carries out what is asked for.
func (w *world) eraser(t testing.TB) *privacy.Service {
	s := *w.privacy
	s.Ledger = privacy.NewLedger(filepath.Join(t.TempDir(), "ledger"))
	return &s
}

// carryOut does what the leading profiler does when it is asked.
func (c *tenant) carryOut(s *privacy.Service) {
	c.t.Helper()
	if open, err := s.CarryOut(c.t.Context(), c.id, privacy.Request{}); open || err != nil {
		c.t.Errorf("some is open: %v, %v", open, err)
	}
}

// privacySteps are the operations with which a caller is shown what is kept, and
// forgotten.
func privacySteps(c *client, other *tenant) []step {
	var id string
	return []step{
		{"export-caller", func(t *testing.T, me *tenant) {
			for _, who := range []*tenant{me, other} {
				who.summarized("CA8"+who.id.String(), eve, spokenAt, "Said adieu to "+who.id.String()+" <b>.", finding("personal.name", "Eve of "+who.id.String()))
			}
			got := c.call(me, 200, "export-caller", args{"phone": eve})
			if got.text("user_id") != eve || got.text("schema") != privacy.ExportSchema || !strings.Contains(got.body, "Eve of "+me.id.String()) || strings.Contains(got.body, "Eve of "+other.id.String()) {
				t.Error(got.body)
			}
			for _, how := range []args{{"phone": eve, "format": "html"}, {"phone": eve, "Accept": "text/html,application/xhtml+xml"}} {
				page := c.call(me, 200, "export-caller", how)
				if !strings.HasPrefix(page.header.Get("Content-Type"), "text/html") || !strings.Contains(page.body, "Eve of "+me.id.String()) || strings.Contains(page.body, "<b>") {
					t.Errorf("%s %s", page.header, page.body)
				}
				if page.header.Get("X-Content-Type-Options") != "nosniff" || page.header.Get("Content-Security-Policy") != "default-src 'none'; style-src 'unsafe-inline'" {
					t.Errorf("%s", page.header)
				}
			}
			if page := c.call(me, 200, "export-caller", args{"phone": eve, "format": "json", "Accept": "text/html"}); page.at("calls") == nil {
				t.Error(page.body)
			}
			c.call(me, 404, "export-caller", args{"phone": "+12065550199"})
			c.call(me, 422, "export-caller", args{"phone": "Eve"})
		}},
		{"plan-erasure", func(t *testing.T, me *tenant) {
			got := c.call(me, 200, "plan-erasure", args{"phone": eve})
			if got.at("plan", "rows", "calls") != 1.0 || got.at("plan", "facts", "call.summarized") != 1.0 || got.text("plan", "calls", 0) != "CA8"+me.id.String() {
				t.Error(got.body)
			}
			c.call(me, 404, "plan-erasure", args{"phone": "+12065550199"})
		}},
		{"erase-caller", func(t *testing.T, me *tenant) {
			got := c.call(me, 202, "erase-caller", args{"phone": eve, "by": "Bo"})
			id = got.text("erasure", "erasure_id")
			if got.text("erasure", "state") != "asked" || got.text("erasure", "asked_by") != "staff:Bo" || got.at("plan", "rows", "calls") != 1.0 || strings.Contains(got.body, eve[1:]) ||
				got.header.Get("Location") != "/v1/erasures/"+id+"?customer_id="+me.id.String() {
				t.Error(got.header, got.body)
			}
			if again := c.call(me, 202, "erase-caller", args{"phone": eve}); again.text("erasure", "erasure_id") != id {
				t.Error(again.body)
			}
			if here, no := c.call(me, 404, "erase-caller", args{"phone": "+12065550198"}), c.call(me, 404, "get-erasure", args{"erasure_id": "x"}); here.body != no.body {
				t.Errorf("%s and %s", here.body, no.body)
			}
		}},
		{"erase-call", func(t *testing.T, me *tenant) {
			me.summarized("CA9"+me.id.String(), ann, spokenAt, "To be erased.")
			got := c.call(me, 202, "erase-call", args{"call_id": "CA9" + me.id.String()})
			if got.text("erasure", "kind") != "call" || got.text("erasure", "calls", 0) != "CA9"+me.id.String() {
				t.Error(got.body)
			}
			c.call(other, 404, "erase-call", args{"call_id": "CA9" + me.id.String()})
		}},
		{"get-erasure", func(t *testing.T, me *tenant) {
			c.call(other, 404, "get-erasure", args{"erasure_id": id})
			s := other.w.eraser(t)
			me.carryOut(s)
			got := c.call(me, 200, "get-erasure", args{"erasure_id": id})
			if got.text("erasure", "state") != "erased" || got.text("erasure", "certificate") != "map[]" {
				t.Error(got.body)
			}
			c.call(me, 404, "export-caller", args{"phone": eve})
			c.call(me, 404, "get-profile", args{"user_id": eve})
			c.call(me, 404, "get-call", args{"call_id": "CA9" + me.id.String()})
			c.call(me, 200, "get-profile", args{"user_id": ann})
			c.call(other, 200, "export-caller", args{"phone": eve})
			if _, err := s.Certify(t.Context(), []events.Tenant{me.id}, func(string) {}); err != nil {
				t.Fatal(err)
			}
			got = c.call(me, 200, "get-erasure", args{"erasure_id": id})
			if got.text("erasure", "state") != "done" || got.text("erasure", "certificate", "schema") != privacy.CertificateSchema ||
				got.at("erasure", "certificate", "rows", "calls") != 1.0 || got.at("erasure", "finished_at") == nil || strings.Contains(got.body, eve[1:]) {
				t.Error(got.body)
			}
		}},
	}
}

// Who is known by words in the place of a number is shown and forgotten as
// anybody is, and does not phone.
func testKnownByWords(t *testing.T, w *world) {
	a, other := w.tenant(t), w.tenant(t)
	const tom = events.Legacy + "Tom & <Jürgen>/Söhne 12"
	at := "/v1/callers/" + url.PathEscape(tom)
	for _, c := range []*tenant{a, other} {
		c.state("old-1", spokenAt, events.CallSummarized{
			Caller: tom, StartedAt: spokenAt, EndedAt: spokenAt.Add(time.Minute), Seconds: 60, Summary: "Asked " + c.id.String() + " for a quote.", Topics: []string{}, Sentiment: "neutral", Resolution: "resolved",
			Findings: []events.Finding{}, Rejected: []events.Reject{}, Messages: []events.Message{}, Via: events.ViaImport, Producer: events.Producer{Model: "legacy"},
		})
	}
	got := a.want(200, "GET", at+"/export", nil)
	if got.text("user_id") != tom || got.text("calls", 0, "call_id") != "old-1" || got.text("calls", 0, "summary", "summary") != "Asked "+a.id.String()+" for a quote." {
		t.Error(got.body)
	}
	if got := a.want(200, "GET", "/v2/profile/"+url.PathEscape(tom), nil); got.text("user_id") != tom {
		t.Error(got.body)
	}
	if got := a.want(200, "GET", at+"/erasure", nil); got.at("plan", "facts", "call.summarized") != 1.0 || got.text("user_id") != tom {
		t.Error(got.body)
	}
	a.want(202, "DELETE", at, nil)
	a.carryOut(w.eraser(t))
	a.want(404, "GET", at+"/export", nil)
	other.want(200, "GET", at+"/export", nil)
	a.want(422, "POST", "/v2/process-call", map[string]any{"user_id": "legacy:Bob", "conversation_history": history("user", "Hello.")})
	a.want(404, "GET", "/v1/callers/legacy:"+strings.Repeat("x", 200)+"/export", nil)
	for _, path := range []string{"/v1/callers/Tom/export", "/v1/callers/legacy:T%00m/export", "/v1/callers/legacy:T%FFm/export", "/v1/callers/legacy:" + strings.Repeat("x", 300) + "/export"} {
		a.want(422, "GET", path, nil)
	}
}

// Data on hold is shown and not removed; what was asked for before waits.
func testOnHold(t *testing.T, w *world) {
	a := w.tenant(t)
	a.summarized("CA1", eve, spokenAt, "A call.")
	at := "/v1/callers/%2B12065550166"
	id := a.want(202, "DELETE", at, nil).text("erasure", "erasure_id")
	_, _, err := w.store.UpdateSettings(t.Context(), a.id, func(s *events.Settings) error { s.Retention = &events.Retention{Hold: true}; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if got := a.want(409, "DELETE", at, nil); !strings.Contains(got.body, "on hold") {
		t.Error(got.body)
	}
	if got := a.want(200, "GET", "/v1/erasures/"+id, nil); got.at("erasure", "held") != true || got.text("erasure", "state") != "asked" {
		t.Error(got.body)
	}
	a.want(200, "GET", at+"/export", nil)
}

// However many ask at once, for the same or for others, each gets an answer, and
// the same caller is one request.
func testManyAskAtOnce(t *testing.T, w *world) {
	a := w.tenant(t)
	numbers := []string{"+12065550161", "+12065550162"}
	for i, n := range numbers {
		a.summarized(fmt.Sprint("CA", i), n, spokenAt.Add(time.Duration(i)*time.Hour), "A call.")
	}
	ids := make(chan string, 12)
	for i := range cap(ids) {
		go func() {
			ids <- a.ask("DELETE", "/v1/callers/%2B"+numbers[i%2][1:], nil).text("erasure", "erasure_id")
		}()
	}
	seen := map[string]int{}
	for range cap(ids) {
		seen[<-ids]++
	}
	if len(seen) != 2 || seen["<nil>"] > 0 {
		t.Errorf("%v", seen)
	}
}
