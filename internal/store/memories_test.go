package store_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

// doc is what a search looks at.
type doc struct {
	id    string
	at    time.Time
	words map[string]float64 // how often each is in it
	len   float64
}

// bm25 is the ids of docs in the order of BM25 (k1 1.2, b 0.75) for any of some
// words; of those with none of them nothing.
func bm25(docs []doc, words []string, limit int) (ids []string) {
	var mean float64
	for _, d := range docs {
		mean += d.len / float64(len(docs))
	}
	score := map[string]float64{}
	for _, w := range words {
		var holding float64
		for _, d := range docs {
			if d.words[w] > 0 {
				holding++
			}
		}
		idf := math.Log(1 + (float64(len(docs))-holding+0.5)/(holding+0.5))
		for _, d := range docs {
			if tf := d.words[w]; tf > 0 {
				score[d.id] += idf * tf * 2.2 / (tf + 1.2*(1-0.75+0.75*d.len/mean))
			}
		}
	}
	docs = slices.DeleteFunc(slices.Clone(docs), func(d doc) bool { return len(words) > 0 && score[d.id] == 0 })
	slices.SortFunc(docs, func(a, b doc) int {
		return cmp.Or(cmp.Compare(math.Round(score[b.id]*1e9), math.Round(score[a.id]*1e9)), b.at.Compare(a.at), strings.Compare(b.id, a.id))
	})
	for _, d := range docs[:min(limit, len(docs))] {
		ids = append(ids, d.id)
	}
	return ids
}

// lexemes is what PostgreSQL makes of texts.
func lexemes(t *testing.T, su *pgx.Conn, texts []string) (out []map[string]float64) {
	t.Helper()
	out = make([]map[string]float64, len(texts))
	for i := range out {
		out[i] = map[string]float64{}
	}
	rows, err := su.Query(t.Context(), `SELECT n, u.lexeme, cardinality(u.positions) FROM unnest($1::text[]) WITH ORDINALITY AS x (text, n),
		unnest(to_tsvector('english', x.text)) AS u`, texts)
	if err != nil {
		t.Fatal(err)
	}
	var n, times int
	var word string
	if _, err := pgx.ForEachRow(rows, []any{&n, &word, &times}, func() error { out[n-1][word] = float64(times); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

const vocabulary = "the a of to and my is was car cars truck boat boats house houses policy policies claim claims quote quotes renew renewed renewal roof roofs leak leaks " +
	"dog dogs cat daughter daughters drives driving drove wife husband payment payments premium premiums deductible agent agents friday monday morning evening"

// Searching ranks as BM25 does when somebody else computes it.
func TestSearchRanksAsBM25(t *testing.T) {
	t.Parallel()
	su := admin(t)
	random := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields(vocabulary)
	text := func(n int) string {
		var s []string
		for range n {
			s = append(s, words[random.IntN(len(words))])
		}
		return strings.Join(s, " ")
	}
	s, rows := customer(t)
	known := known("Ann")
	known.Memories = nil
	var texts []string
	var docs []doc
	for i := range 300 {
		m := store.MemoryRow{
			ID: fmt.Sprintf("m%03d", random.IntN(1000)*300+i), Type: "fact", Key: words[random.IntN(len(words))], Value: text(1 + random.IntN(12)),
			Evidence: text(random.IntN(6)), Origin: "call", At: created.Add(time.Duration(random.IntN(50)) * time.Hour),
		}
		known.Memories = append(known.Memories, m)
		texts = append(texts, m.Key+" "+m.Value+" "+m.Content+" "+m.Evidence)
		docs = append(docs, doc{id: m.ID, at: m.At})
	}
	others := known
	others.Profile.User = "+12065550177"
	others.Memories = slices.Clone(known.Memories)
	for i := range others.Memories {
		others.Memories[i].ID = "o" + others.Memories[i].ID
	}
	apply(t, rows, func(p *store.Projection) { p.SaveCaller(known); p.SaveCaller(others) })
	for i, of := range lexemes(t, su, texts) {
		docs[i].words = of
		for _, n := range of {
			docs[i].len += n
		}
	}
	questions := []string{"", "the of and", "is it a boat?", "boats", "no such thing at all", "Renewing my policy's premium; or daughter & wife | claims <-> roof !leak", "'); DROP TABLE memories; --", "car:*", `\`}
	for range 30 {
		questions = append(questions, text(1+random.IntN(5)))
	}
	for i, q := range questions {
		var asked []string
		for w := range lexemes(t, su, []string{q})[0] {
			asked = append(asked, w)
		}
		limit := 1 + i%40
		found, err := rows.SearchMemories(t.Context(), store.MemoriesAsked{User: known.Profile.User, Limit: limit}, q)
		if err != nil {
			t.Fatalf("%q: %v", q, err)
		}
		var got []string
		for _, m := range found {
			got = append(got, m.ID)
		}
		if want := bm25(docs, asked, limit); !slices.Equal(got, want) {
			t.Errorf("%q:\n got %v\nwant %v", q, got, want)
		}
	}
	if found, err := rows.SearchMemories(t.Context(), store.MemoriesAsked{Type: "rule", Limit: 10}, "boat"); err != nil || len(found) > 0 {
		t.Errorf("of another type: %v, %v", found, err)
	}
	searchesSummaries(t, s.Tenant, rows, text)
}

func searchesSummaries(t *testing.T, id events.Tenant, rows *store.Tenant, text func(int) string) {
	t.Helper()
	var texts []string
	var docs []doc
	apply(t, rows, func(p *store.Projection) {
		for i := range 60 {
			f := summarized
			f.Summary, f.Topics, f.StartedAt = text(8), []string{}, created.Add(time.Duration(i)*time.Hour)
			call := fmt.Sprint("CA", i)
			if err := p.Summarized(event(id, call, uint64(i+1), f), f); err != nil {
				t.Error(err)
			}
			texts = append(texts, f.Summary+" [] {}")
			docs = append(docs, doc{id: call, at: f.StartedAt})
		}
	})
	su := admin(t)
	for i, of := range lexemes(t, su, texts) {
		docs[i].words = of
		for _, n := range of {
			docs[i].len += n
		}
	}
	for _, q := range []string{"", "boats and houses", "claim", text(4)} {
		var asked []string
		for w := range lexemes(t, su, []string{q})[0] {
			asked = append(asked, w)
		}
		found, err := rows.SearchSummaries(t.Context(), summarized.Caller, q, 10)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range found {
			got = append(got, s.Call)
		}
		if want := bm25(docs, asked, 10); !slices.Equal(got, want) {
			t.Errorf("%q:\n got %v\nwant %v", q, got, want)
		}
	}
}

// A search looks at the newest, so that it takes no longer the more there is.
func TestSearchLooksAtTheNewest(t *testing.T) {
	t.Parallel()
	_, rows := customer(t)
	known := known("Ann")
	known.Memories = nil
	for i := range 2100 {
		known.Memories = append(known.Memories, store.MemoryRow{ID: fmt.Sprintf("m%04d", i), Type: "fact", Key: "k", Value: "boat", Origin: "call", At: created.Add(time.Duration(i) * time.Minute)})
	}
	known.Memories[0].Value = "yacht"
	known.Memories[2099].Value = "yacht"
	apply(t, rows, func(p *store.Projection) { p.SaveCaller(known) })
	found, err := rows.SearchMemories(t.Context(), store.MemoriesAsked{User: known.Profile.User, Limit: 10}, "yacht")
	if err != nil || len(found) != 1 || found[0].ID != "m2099" {
		t.Errorf("%+v, %v", found, err)
	}
}

// Pages of a list make up the list, whatever was said at the same time.
func TestPagesMakeUpTheList(t *testing.T) {
	t.Parallel()
	_, rows := customer(t)
	known := known("Ann")
	known.Memories = nil
	for i := range 25 {
		known.Memories = append(known.Memories, store.MemoryRow{ID: fmt.Sprint("m", i), Type: "fact", Key: "k", Value: "v", Origin: "call", At: created.Add(time.Duration(i/7) * time.Minute)})
	}
	apply(t, rows, func(p *store.Projection) { p.SaveCaller(known) })
	all, err := rows.Memories(t.Context(), store.MemoriesAsked{Limit: 100})
	if err != nil || len(all) != 25 {
		t.Fatalf("%d, %v", len(all), err)
	}
	var pages []store.MemoryOf
	ask := store.MemoriesAsked{Limit: 4}
	for {
		page, err := rows.Memories(t.Context(), ask)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		pages = append(pages, page...)
		last := page[len(page)-1]
		ask.After = &store.Place{At: last.Created, ID: last.ID}
	}
	if !slices.Equal(pages, all) {
		t.Errorf("%d of %d, or in another order", len(pages), len(all))
	}
}
