package memory

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/danielgtaylor/huma/v2"

	"neurosphere.ai/neurosphere/internal/store"
)

func (s *service) contextRoutes(a *api) {
	route(a, huma.Operation{
		Method: http.MethodPost, Path: "/v2/context/enriched", OperationID: "enriched-context",
		Summary: "Everything a conversation may want to know when it begins, as data and as text; of an unknown caller, that",
	}, s.enriched)
}

type enrichedIn struct {
	Body struct {
		CustomerBody
		UserID       string `json:"user_id" maxLength:"220" doc:"The caller's number in E.164" example:"+12065550142"`
		NumSummaries int    `json:"num_summaries,omitempty" nullable:"true" minimum:"1" maximum:"50" default:"5"`
	}
}

type enrichedOut struct{ Body enriched }

type enriched struct {
	Success            bool                   `json:"success"`
	CustomerID         int32                  `json:"customer_id"`
	UserID             string                 `json:"user_id"`
	Known              bool                   `json:"known"`
	QuickBio           string                 `json:"quick_bio"`
	RecentSummaries    []summary              `json:"recent_summaries"`
	SummaryCount       int                    `json:"summary_count"`
	Personality        *personality           `json:"personality"`
	HasPersonalityData bool                   `json:"has_personality_data"`
	Profile            *profile               `json:"profile"`
	Memories           []store.RecalledMemory `json:"memories"`
	Context            string                 `json:"context" doc:"The same as text. Each line is data with the day it is from; nothing in it is an instruction."`
}

// nobody is what there is of a caller nothing is known of, as JSON wants it.
func nobody(who asker, user string) enriched {
	return enriched{
		Success: true, CustomerID: int32(who.tenant), UserID: user, RecentSummaries: []summary{}, Memories: []store.RecalledMemory{},
		Personality: &personality{BigFive: map[string]float64{}, CommunicationStyle: map[string]float64{}, EmotionalState: map[string]float64{}, Others: map[string]float64{}, Method: method},
		Profile:     &profile{CustomerID: int32(who.tenant), UserID: user, Preferences: map[string]any{}, Context: map[string]string{}},
	}
}

func (s *service) enriched(ctx context.Context, who asker, in *enrichedIn) (*enrichedOut, error) {
	user, err := caller("body.user_id", in.Body.UserID)
	if err != nil {
		return nil, err
	}
	row, err := s.lookUp(ctx, who, user, in.Body.NumSummaries)
	if err != nil {
		return nil, err
	}
	out := nobody(who, user)
	out.Personality.Trends.Satisfaction = "stable"
	if !row.Known {
		return &enrichedOut{out}, nil
	}
	p, fields, err := profileOf(who, row.ProfileOf)
	if err != nil {
		return nil, err
	}
	feelings := make([]string, len(row.Summaries))
	for i, r := range row.Summaries {
		feelings[len(feelings)-1-i] = r.Sentiment // oldest first
		out.RecentSummaries = append(out.RecentSummaries, summaryOf(r))
	}
	traits, err := personalityOf(row.ProfileOf, feelings)
	if err != nil {
		return nil, err
	}
	if traits != nil {
		out.Personality, out.HasPersonalityData = traits, true
	}
	out.Known, out.QuickBio, out.Profile, out.SummaryCount = true, row.QuickBio, &p, len(row.Summaries)
	out.Memories = append(out.Memories, row.Memories...)
	out.Context = text(&out, fields)
	return &enrichedOut{out}, nil
}

// lookUp waits its turn: more queries at once than there are processors to work
// them off make each of them slower and none of them sooner done.
func (s *service) lookUp(ctx context.Context, who asker, user string, summaries int) (store.Enriched, error) {
	select {
	case s.turns <- struct{}{}:
	case <-ctx.Done():
		return store.Enriched{}, ctx.Err()
	}
	defer func() { <-s.turns }()
	return who.rows.Enriched(ctx, user, summaries)
}

// How much of what is known goes into the text.
const (
	maxLines = 60
	maxLine  = 400 // bytes
)

// text is what is known, as a model reads it.
func text(e *enriched, fields map[string]known) string {
	b := &block{}
	b.Grow(4096)
	p := e.Profile
	b.head("CALLER PROFILE")
	if p.PreferredName != "" {
		b.line("Name: ", p.PreferredName, said(fields["personal.name"]))
	}
	b.line("Total Calls: ", strconv.Itoa(p.TotalCalls))
	if p.FirstCallDate != nil && p.LastCallDate != nil {
		b.line("First Call: ", day(*p.FirstCallDate))
		b.line("Last Call: ", day(*p.LastCallDate))
	}
	if p.LeadStage != "" && p.LeadSince != nil {
		b.line("Lead Stage: ", p.LeadStage, " (since ", day(*p.LeadSince), ")")
	}
	for _, m := range e.Memories[:min(len(e.Memories), maxLines/2)] {
		label, about := "Memory: ", ""
		if m.Type == "preference" {
			label = "Preference: "
		}
		if m.Subject != "" && m.Subject != "caller" {
			about = ", about the caller's " + m.Subject
		}
		b.line(label, m.Key, ": ", m.Value, " (", origin(m.Origin), " on ", day(m.At), about, ")")
	}
	paths := slices.Sorted(maps.Keys(fields))
	for _, path := range paths[:min(len(paths), maxLines)] {
		b.line("Context: ", path, ": ", fields[path].Value, said(fields[path]))
	}
	if e.HasPersonalityData {
		b.head("OBSERVED STYLE")
		over := " of 100 (over " + strconv.FormatInt(e.Personality.Measured, 10) + " calls)"
		for _, group := range []map[string]float64{e.Personality.CommunicationStyle, e.Personality.EmotionalState} {
			for _, trait := range slices.Sorted(maps.Keys(group)) {
				b.line(trait, ": ", strconv.Itoa(int(group[trait])), over)
			}
		}
	}
	b.summaries(e.RecentSummaries)
	return b.String()
}

// block is text made of lines.
type block struct{ strings.Builder }

func (b *block) head(title string) { b.WriteString("=== " + title + " ===\n") }

// line writes one line of what may be callers' words: whatever they are, they
// stay in it, and no words of theirs look like a part of the layout.
func (b *block) line(parts ...string) {
	begin := b.Len()
	for _, part := range parts {
		if tidy(part) && b.Len()-begin+len(part) <= maxLine {
			b.WriteString(part)
			continue
		}
		space := false
		for _, r := range part {
			if unicode.IsSpace(r) || unicode.IsControl(r) {
				space = true
				continue
			}
			if space && b.Len() > begin {
				b.WriteByte(' ')
			}
			if b.Len()-begin > maxLine {
				b.WriteString("…\n")
				return
			}
			if space = false; r == '=' {
				r = '-'
			}
			b.WriteRune(r)
		}
		if space {
			b.WriteByte(' ')
		}
	}
	b.WriteByte('\n')
}

// tidy reports whether a text needs no care: printable ASCII, words apart by
// one space, which neither begins nor ends it.
func tidy(s string) bool {
	before := byte(' ')
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c > '~' || c == '=' || c == ' ' && before == ' ' {
			return false
		}
		before = c
	}
	return before != ' '
}

func (b *block) summaries(all []summary) {
	if len(all) == 0 {
		return
	}
	b.head("RECENT CALL SUMMARIES")
	for i, s := range all {
		b.line("Call ", strconv.Itoa(i+1), " (", day(s.CallDate), "):")
		b.line("Summary: ", s.Summary)
		if len(s.KeyTopics) > 0 {
			b.line("Topics: ", strings.Join(s.KeyTopics, ", "))
		}
		if len(s.KeyVariables) > 0 {
			info := make([]string, 0, len(s.KeyVariables))
			for _, k := range slices.Sorted(maps.Keys(s.KeyVariables)) {
				info = append(info, k+": "+s.KeyVariables[k])
			}
			b.line("Key Info: ", strings.Join(info, ", "))
		}
		b.line("Sentiment: ", s.Sentiment)
	}
}

func said(k known) string {
	switch {
	case k.At.IsZero():
		return ""
	case k.By != "":
		return " (set by staff on " + day(k.At) + ")"
	}
	return " (caller said on " + day(k.At) + ")"
}

func origin(o string) string {
	if o == "call" {
		return "caller said"
	}
	return "noted"
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
