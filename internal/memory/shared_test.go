package memory

import (
	"slices"
	"strings"
	"testing"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/readmodel"
	"neurosphere.ai/neurosphere/internal/replay"
)

// What is remembered of a business as a whole is nobody's: it is in no list of
// callers and in nothing about one, but in the business's own export, and a
// replay makes it anew.
func testSharedIsNobodys(t *testing.T, w *world) {
	a, b := w.tenant(t), w.tenant(t)
	a.summarized("CA1", ann, spokenAt, "A call.", finding("memory.dog", "Rex"))
	id := a.want(201, "POST", "/v1/memories/shared", map[string]any{"type": "preference", "key": "parking", "value": "behind Xanadu", "user_id": ann}).text("memory_id")
	gone := a.want(201, "POST", "/v1/memories/shared", map[string]any{"type": "fact", "key": "old", "value": "closed on Mondays"}).text("memory_id")
	a.want(200, "DELETE", "/v1/memories/"+gone, nil)
	a.want(422, "POST", "/v1/memories", map[string]any{"user_id": "shared", "type": "fact", "key": "k", "value": 1})

	if got := a.want(200, "GET", "/v2/profiles", nil); got.at("total") != 1.0 || strings.Contains(got.body, "Xanadu") {
		t.Error(got.body)
	}
	for path, want := range map[string]bool{
		"/v1/memories": true, "/v1/memories/shared": true, "/v1/memories/" + id: true, "/v1/memories?query=Xanadu": true, "/v1/memories/shared?query=Xanadu": true,
		"/v1/memories/user/%2B12065550142": false, "/v1/memories/user/%2B12065550142?include_shared=true": true, "/v1/memories/user/%2B12065550199?include_shared=true": true,
		"/v2/profile/%2B12065550142": false, "/v1/callers/%2B12065550142/export": false, "/v1/callers/%2B12065550142/erasure": false,
	} {
		if got := a.want(200, "GET", path, nil); strings.Contains(got.body, "Xanadu") != want || strings.Contains(got.body, "Mondays") {
			t.Errorf("%s: %s", path, got.body)
		}
		if got := b.ask("GET", path, nil); strings.Contains(got.body, "Xanadu") {
			t.Errorf("another's %s: %s", path, got.body)
		}
	}
	b.want(404, "DELETE", "/v1/memories/"+id, nil)
	for _, path := range []string{"/v2/profile/shared", "/v1/memories/user/shared", "/v1/callers/shared/export"} {
		a.want(422, "GET", path, nil)
	}
	rows, err := w.store.For(a.id)
	if err != nil {
		t.Fatal(err)
	}
	callers, err := rows.Callers(t.Context(), "", 10)
	old, calls, err1 := rows.Expired(t.Context(), w.now().AddDate(1, 0, 0), 10)
	if err != nil || err1 != nil || !slices.Equal(callers, []string{ann}) || !slices.Equal(old, []string{ann}) || len(calls) > 0 {
		t.Errorf("callers %v; expired %v %v; %v %v", callers, old, calls, err, err1)
	}
	var docs []privacy.Document
	if err := w.privacy.ExportAll(t.Context(), a.id, func(d privacy.Document) error { docs = append(docs, d); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(docs) != 2 || len(docs[0].Memories) != 1 || docs[1].Caller != "" || len(docs[1].Memories) != 1 || len(docs[1].Statements) != 3 || docs[1].Profile != nil {
		t.Errorf("%+v", docs)
	}
	if err := w.privacy.ExportAll(t.Context(), b.id, func(d privacy.Document) error { t.Errorf("%+v", d); return nil }); err != nil {
		t.Fatal(err)
	}
	report, err := replay.Run(t.Context(), w.bus, w.store, replay.Options{Live: readmodel.Projection, Tenant: a.id, Swap: true})
	if err != nil || report.Rows == 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	if got := a.want(200, "GET", "/v1/memories/shared", nil); got.at("count") != 1.0 || got.text("memories", 0, "id") != id {
		t.Errorf("after a replay: %s", got.body)
	}
	if got := a.want(200, "GET", "/v2/profiles", nil); got.at("total") != 1.0 {
		t.Errorf("after a replay: %s", got.body)
	}
	// Erasing everybody leaves it, and erasing the business does not.
	s := w.eraser(t)
	if _, err := s.Erase(t.Context(), privacy.Request{Tenant: a.id, Caller: ann, By: "test"}); err != nil {
		t.Fatal(err)
	}
	if got := a.want(200, "GET", "/v1/memories", nil); got.at("count") != 1.0 || got.text("memories", 0, "id") != id {
		t.Error(got.body)
	}
	if c, err := s.Erase(t.Context(), privacy.Request{Tenant: a.id, All: true, By: "test"}); err != nil || c.Rows["memories"] != 1 || c.Facts[(events.MemoryStored{}).Name()] != 2 {
		t.Errorf("%+v, %v", c, err)
	}
}
