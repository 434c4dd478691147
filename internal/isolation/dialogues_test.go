package isolation_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
)

// dialogue is one real conversation that nobody here has written.
type dialogue struct {
	Call   string  `json:"call_id"`
	Tenant int     `json:"tenant"`
	Caller *string `json:"caller"`
	Turns  []struct {
		Role string `json:"role"`
		Text string `json:"text"`
		At   int64  `json:"at"`
	} `json:"turns"`

	user string // number of the caller: the same for the same name under every tenant
}

// dialogues are all of them, or in a short test those of some tenants.
func dialogues(t *testing.T) (out []dialogue) {
	t.Helper()
	const path = "../../../shared/data/service-dialogues.jsonl"
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("the conversations are not here: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	numbers, lines := map[string]string{}, bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var d dialogue
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		name := "nobody of " + d.Call
		if d.Caller != nil {
			name = *d.Caller
		}
		if numbers[name] == "" {
			numbers[name] = fmt.Sprintf("+1425555%04d", len(numbers))
		}
		d.user = numbers[name]
		if heard := slices.ContainsFunc(d.Turns, func(l struct {
			Role string `json:"role"`
			Text string `json:"text"`
			At   int64  `json:"at"`
		},
		) bool {
			return l.Role == events.RoleCaller && strings.TrimSpace(l.Text) != ""
		}); heard {
			out = append(out, d)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if thorough() {
		return out
	}
	of := map[int]int{}
	return slices.DeleteFunc(out, func(d dialogue) bool { of[d.Tenant]++; return of[d.Tenant] > 4 })
}

// holder is a tenant that the conversations were held with.
type holder struct {
	business
	calls map[string]map[string]dialogue // by caller and id
}

// Real conversations, loaded as calls of their tenants, whose callers have the
// same numbers everywhere: whatever a tenant reads is its own, and all of it.
func TestDialoguesStayWithTheirTenants(t *testing.T) {
	all := dialogues(t)
	in := start(t)
	holders := in.load(t, all)
	everybody := map[string]bool{}
	for _, h := range holders {
		for user := range h.calls {
			everybody[user] = true
		}
	}
	reads := 0
	for _, h := range holders {
		t.Run("tenant "+h.id.String(), func(t *testing.T) {
			reads += h.lists(t)
			for user := range everybody {
				reads += h.caller(t, user)
			}
			reads += h.transcripts(t, holders)
			reads += h.feed(t) + h.exports(t)
		})
	}
	t.Logf("%d calls of %d tenants and %d callers, %d answers read", len(all), len(holders), len(everybody), reads)
	report.note(func() {
		report.Calls, report.Tenants, report.Callers, report.Reads = len(all), len(holders), len(everybody), reads
	})
}

// load has every conversation taken in as a call, and waits for what comes of
// them.
func (in *instance) load(t *testing.T, all []dialogue) (holders []*holder) {
	t.Helper()
	tpl, err := in.Store.Template(t.Context(), "insurance_v1")
	if err != nil {
		t.Fatal(err)
	}
	of := map[int]*holder{}
	for _, d := range all {
		h := of[d.Tenant]
		if h == nil {
			set := settings.Default(fmt.Sprint("Holder ", d.Tenant), tpl)
			set.Numbers = []string{fmt.Sprintf("+1425556%04d", d.Tenant)}
			if set, _, err = in.Store.CreateCustomer(t.Context(), set); err != nil {
				t.Fatal(err)
			}
			h = &holder{business{in: in, id: set.Tenant}, map[string]map[string]dialogue{}}
			if _, h.key, err = in.Store.NewAPIKey(t.Context(), h.id, store.KeyOptions{Name: "probe"}); err != nil {
				t.Fatal(err)
			}
			of[d.Tenant] = h
			holders = append(holders, h)
		}
		if h.calls[d.user] == nil {
			h.calls[d.user] = map[string]dialogue{}
		}
		h.calls[d.user][d.Call] = d
	}
	if err := settings.Publish(t.Context(), in.Store, in.Bus); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	turns := make(chan struct{}, 4)
	for _, d := range all {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			of[d.Tenant].take(t, d)
		})
	}
	wg.Wait()
	su, err := pgx.Connect(t.Context(), in.adm)
	if err != nil {
		t.Fatal(err)
	}
	defer su.Close(t.Context())
	until(t, "all calls are summarized", func() bool {
		var n int
		if err := su.QueryRow(t.Context(), `SELECT count(*) FROM app.call_summaries`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == len(all)
	})
	return holders
}

// take has one conversation taken in.
func (h *holder) take(t *testing.T, d dialogue) {
	var turns []map[string]any
	for _, l := range d.Turns {
		turns = append(turns, map[string]any{"role": l.Role, "text": l.Text, "at": time.Unix(l.At, 0).UTC()})
	}
	got := h.ask(t, "POST", "/v2/process-call", map[string]any{"user_id": d.user, "call_id": d.Call, "started_at": time.Unix(d.Turns[0].At, 0).UTC(), "turns": turns})
	if got.status != http.StatusAccepted {
		t.Errorf("%s: %d %s", d.Call, got.status, got.body)
	}
}

var dialogueID = regexp.MustCompile(`star-\d+`)

// only reports ids of calls in an answer that are not among those given.
func (h *holder) only(t *testing.T, what string, a answer, ids map[string]dialogue) (found map[string]bool) {
	t.Helper()
	found = map[string]bool{}
	if a.status != http.StatusOK {
		t.Errorf("%s: %d %s", what, a.status, a.body)
	}
	for _, id := range dialogueID.FindAllString(a.body, -1) {
		found[id] = true
		if _, ok := ids[id]; !ok {
			t.Errorf("%s shows %s, which is not of this tenant and caller", what, id)
		}
	}
	return found
}

// own are all calls of the tenant.
func (h *holder) own() map[string]dialogue {
	out := map[string]dialogue{}
	for _, calls := range h.calls {
		maps.Copy(out, calls)
	}
	return out
}

// pages are all pages of a list.
func (h *holder) pages(t *testing.T, path string) (all []answer) {
	t.Helper()
	for cursor := ""; ; {
		got := h.in.send(t, query{method: "GET", path: path, key: h.key, query: url.Values{"customer_id": {h.id.String()}, "limit": {"50"}, "cursor": {cursor}}})
		all = append(all, got)
		var next struct {
			Cursor string `json:"next_cursor"`
		}
		if err := json.Unmarshal([]byte(got.body), &next); err != nil || got.status != http.StatusOK {
			t.Fatalf("%s: %d %v", path, got.status, err)
		}
		if cursor = next.Cursor; cursor == "" {
			return all
		}
	}
}

// lists reads what is listed of all callers.
func (h *holder) lists(t *testing.T) (reads int) {
	var users []string
	for _, page := range h.pages(t, "/v2/profiles") {
		var got struct {
			Profiles []struct {
				User string `json:"user_id"`
			} `json:"profiles"`
		}
		if err := json.Unmarshal([]byte(page.body), &got); err != nil {
			t.Fatal(err)
		}
		for _, p := range got.Profiles {
			users = append(users, p.User)
		}
		h.only(t, "the list of profiles", page, h.own())
		reads++
	}
	slices.Sort(users)
	if want := slices.Sorted(maps.Keys(h.calls)); !slices.Equal(users, want) {
		t.Errorf("profiles of %d callers, want those of the %d who called", len(users), len(want))
	}
	for _, page := range h.pages(t, "/v1/memories") {
		h.only(t, "the list of memories", page, h.own())
		reads++
	}
	return reads
}

// caller reads everything about one caller, who may never have called here.
func (h *holder) caller(t *testing.T, user string) (reads int) {
	ids, at := h.calls[user], url.PathEscape(user)
	found := map[string]bool{}
	for _, page := range h.pages(t, "/v2/summaries/"+at) {
		maps.Copy(found, h.only(t, "summaries", page, ids))
		reads++
	}
	if len(found) != len(ids) {
		t.Errorf("%d calls of a caller are summarized, want %d", len(found), len(ids))
	}
	for _, page := range h.pages(t, "/v1/memories/user/"+at) {
		h.only(t, "memories", page, ids)
		reads++
	}
	context := h.ask(t, "POST", "/v2/context/enriched", map[string]any{"user_id": user, "num_summaries": 10})
	h.only(t, "the context", context, ids)
	if known := strings.Contains(context.body, `"known":true`); known != (len(ids) > 0) {
		t.Errorf("a caller with %d calls is known: %v", len(ids), known)
	}
	h.only(t, "the search of summaries", h.ask(t, "POST", "/v2/summaries/search", map[string]any{"user_id": user, "query": "would like to book or find", "limit": 50}), ids)
	for _, path := range []string{"/v2/profile/", "/caller/profile/"} {
		got := h.ask(t, "GET", path+at, nil)
		if len(ids) == 0 {
			if got.status != http.StatusNotFound || got.body != h.ask(t, "GET", path+"%2B13125559999", nil).body {
				t.Errorf("%s of who never called: %d %s", path, got.status, got.body)
			}
		} else {
			h.only(t, path, got, ids)
		}
	}
	return reads + 4
}

// transcripts reads some of its calls, and asks for another's.
func (h *holder) transcripts(t *testing.T, holders []*holder) (reads int) {
	for id, d := range h.own() {
		if reads++; reads > 10 && !thorough() {
			break
		}
		got := h.ask(t, "GET", "/v2/calls/"+id, nil)
		h.only(t, "a call", got, map[string]dialogue{id: d})
		if said := d.Turns[0].Text; !strings.ContainsAny(said, "0123456789\"\\\n<>&") && !strings.Contains(got.body, strings.TrimSpace(said)) {
			t.Errorf("%s: the transcript lacks its first line", id)
		}
	}
	nothing := h.ask(t, "GET", "/v2/calls/star-0", nil)
	for _, other := range holders {
		for id := range other.own() {
			if other == h {
				break
			}
			if got := h.ask(t, "GET", "/v2/calls/"+id, nil); got.status != http.StatusNotFound || got.body != nothing.body {
				t.Errorf("a call of tenant %s: %d %s", other.id, got.status, got.body)
			}
			reads++
			break
		}
	}
	return reads
}

// feed reads all its events: of all its calls, and of no other.
func (h *holder) feed(t *testing.T) (reads int) {
	found, after := map[string]bool{}, ""
	for {
		got := h.in.send(t, query{method: "GET", path: "/v1/events", key: h.key, query: url.Values{"customer_id": {h.id.String()}, "limit": {"1000"}, "after": {after}}})
		reads++
		maps.Copy(found, h.only(t, "the feed", got, h.own()))
		lines := strings.Split(strings.TrimSpace(got.body), "\n")
		if lines[0] == "" {
			break
		}
		for _, line := range lines {
			var e struct {
				Tenant any    `json:"tenantid"`
				Cursor string `json:"cursor"`
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil || fmt.Sprint(e.Tenant) != h.id.String() {
				t.Fatalf("an event of tenant %v, %v", e.Tenant, err)
			}
			after = e.Cursor
		}
	}
	if len(found) != len(h.own()) {
		t.Errorf("the feed is of %s calls, want %d", strconv.Itoa(len(found)), len(h.own()))
	}
	return reads
}
