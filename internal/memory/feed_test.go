package memory

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

// event is a line of a feed.
type event struct {
	ID       string          `json:"id"`
	Type     string          `json:"type"`
	Tenant   string          `json:"tenantid"`
	Cursor   string          `json:"cursor"`
	Version  string          `json:"specversion"`
	Data     json.RawMessage `json:"data"`
	DataType string          `json:"datacontenttype"`
}

func lines(t *testing.T, body string) (out []event) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(body), "\n") {
		if line == "" {
			continue
		}
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, e)
	}
	return out
}

func testFeed(t *testing.T, w *world) {
	a, b := w.known(t, "mine"), w.known(t, "theirs")
	for i := range 5 {
		a.state("", spokenAt, events.MemoryStored{Memory: "m" + string(rune('a'+i)), Caller: ann, Type: "fact", Key: "k", Value: "1", Origin: "api"})
		b.state("", spokenAt, events.MemoryStored{Memory: "m" + string(rune('a'+i)), Caller: ann, Type: "fact", Key: "theirs", Value: "1", Origin: "api"})
	}
	t.Run("it tells nothing of others' traffic", func(t *testing.T) {
		c := w.tenant(t)
		c.state("CA9", spokenAt, events.CallEnded{From: ann, To: "+12065550100", StartedAt: spokenAt, EndedAt: spokenAt, Reason: events.EndCaller, FirstSeq: 1234567, Facts: []uint64{1234567, 1234599}})
		if got := c.want(200, "GET", "/v1/events", nil); strings.Contains(got.body, "12345") || !strings.Contains(got.body, `"first_seq":0`) {
			t.Error(got.body)
		}
	})
	all := lines(t, a.want(200, "GET", "/v1/events", nil).body)
	if len(all) != 7 {
		t.Fatalf("%d events", len(all))
	}

	t.Run("it is the customer's own and nothing else", func(t *testing.T) {
		got := a.want(200, "GET", "/v1/events", nil)
		if strings.Contains(got.body, "theirs") || got.header.Get("Content-Type") != jsonLines {
			t.Error(got.body)
		}
		for _, e := range all {
			if e.Tenant != a.id.String() || e.Version != "1.0" || e.DataType != "application/json" || len(e.Data) < 3 || !strings.HasPrefix(e.Type, "ai.neurosphere.") {
				t.Errorf("%+v", e)
			}
		}
	})

	t.Run("pages make up the whole", func(t *testing.T) {
		var read []event
		path := "/v1/events?limit=3"
		for range 5 {
			page := lines(t, a.want(200, "GET", path, nil).body)
			if len(page) == 0 {
				break
			}
			read = append(read, page...)
			path = "/v1/events?limit=3&after=" + page[len(page)-1].Cursor
		}
		if len(read) != len(all) {
			t.Fatalf("%d of %d", len(read), len(all))
		}
		for i := range read {
			if read[i].ID != all[i].ID {
				t.Errorf("%d: %s, want %s", i, read[i].ID, all[i].ID)
			}
		}
	})

	t.Run("a cursor is nobody else's, and of nothing else", func(t *testing.T) {
		b.want(400, "GET", "/v1/events?after="+all[2].Cursor, nil)
		a.want(400, "GET", "/v1/events?after=5", nil)
		a.want(400, "GET", "/v1/memories?cursor="+all[2].Cursor, nil)
		gone, err := w.seal(a.id, feedCursor, place{1 << 40, "x", time.Unix(1, 0)})
		if err != nil {
			t.Fatal(err)
		}
		a.want(410, "GET", "/v1/events?after="+gone, nil)
	})

	t.Run("as server-sent events", func(t *testing.T) {
		got := a.send("GET", "/v1/events?customer_id="+a.id.String(), nil, map[string]string{
			"Authorization": "Bearer " + a.key, "Accept": "text/event-stream", "Last-Event-ID": all[5].Cursor,
		})
		if got.header.Get("Content-Type") != eventsSSE || strings.Count(got.body, "data: ") != 1 || !strings.Contains(got.body, "\nevent: ai.neurosphere.memory.stored.v1\ndata: {") || !strings.HasPrefix(got.body, "id: ") {
			t.Error(got.body)
		}
	})

	t.Run("followed, it goes on with what comes, and with signs of life", func(t *testing.T) {
		k, key, err := w.store.NewAPIKey(t.Context(), a.id, store.KeyOptions{Name: "reader"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/v1/events?follow=true&customer_id="+a.id.String()+"&after="+all[6].Cursor, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		in := bufio.NewScanner(resp.Body)
		beats := 0
		for beats < 2 && in.Scan() {
			if in.Text() != "" {
				t.Fatalf("%q", in.Text())
			}
			beats++
		}
		a.state("", spokenAt, events.MemoryStored{Memory: "new", Caller: ann, Type: "fact", Key: "k", Value: "1", Origin: "api"})
		b.state("", spokenAt, events.MemoryStored{Memory: "new", Caller: ann, Type: "fact", Key: "theirs", Value: "1", Origin: "api"})
		for in.Scan() && in.Text() == "" { //nolint:revive // signs of life
		}
		if got := lines(t, in.Text()); len(got) != 1 || got[0].Tenant != a.id.String() || strings.Contains(in.Text(), "theirs") {
			t.Errorf("%q", in.Text())
		}
		if err := w.store.RevokeAPIKey(t.Context(), a.id, k.ID); err != nil {
			t.Fatal(err)
		}
		w.forgetKeys()
		for in.Scan() {
			if in.Text() != "" {
				t.Errorf("after the key was revoked: %q", in.Text())
			}
		}
		if err := in.Err(); err != nil {
			t.Errorf("it did not end by itself: %v", err)
		}
	})

	t.Run("as many as a customer may follow, and no more", func(t *testing.T) {
		var done []func()
		for range feedsPerOne {
			d, err := w.feeds.add(b.id)
			if err != nil {
				t.Fatal(err)
			}
			done = append(done, d)
		}
		b.want(429, "GET", "/v1/events?follow=true", nil)
		for _, d := range done {
			d()
		}
		if _, err := w.feeds.add(b.id); err != nil {
			t.Error(err)
		}
	})
}
