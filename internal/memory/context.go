package memory

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

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
		UserID       string `json:"user_id" maxLength:"40" doc:"The caller's number in E.164" example:"+12065550142"`
		NumSummaries int    `json:"num_summaries,omitempty" minimum:"1" maximum:"50" default:"5"`
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
	row, err := who.rows.Enriched(ctx, user, in.Body.NumSummaries)
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
	out.Context = text(p, fields, traits, row)
	return &enrichedOut{out}, nil
}

// How much of what is known goes into the text.
const (
	maxLines = 60
	maxLine  = 240
)

// text is what is known, as a model reads it. Whatever callers said stands in
// one line, so that no words of theirs look like a part of the layout.
func text(p profile, fields map[string]known, traits *personality, row store.Enriched) string {
	var b strings.Builder
	line := func(format string, args ...any) {
		s := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
		b.WriteString(clip(strings.ReplaceAll(s, "===", "=="), maxLine) + "\n")
	}
	b.WriteString("=== CALLER PROFILE ===\n")
	if p.PreferredName != "" {
		line("Name: %s%s", p.PreferredName, said(fields["personal.name"]))
	}
	line("Total Calls: %d", p.TotalCalls)
	if p.FirstCallDate != nil && p.LastCallDate != nil {
		line("First Call: %s", day(*p.FirstCallDate))
		line("Last Call: %s", day(*p.LastCallDate))
	}
	if p.LeadStage != "" && p.LeadSince != nil {
		line("Lead Stage: %s (since %s)", p.LeadStage, day(*p.LeadSince))
	}
	n := 0
	for _, m := range row.Memories {
		if n++; n > maxLines/2 {
			break
		}
		label := "Memory"
		if m.Type == "preference" {
			label = "Preference"
		}
		about := ""
		if m.Subject != "" && m.Subject != "caller" {
			about = ", about the caller's " + m.Subject
		}
		line("%s: %s: %s (%s on %s%s)", label, m.Key, m.Value, origin(m.Origin), day(m.At), about)
	}
	for _, path := range slices.Sorted(maps.Keys(fields)) {
		if n++; n > maxLines {
			break
		}
		line("Context: %s: %s%s", path, fields[path].Value, said(fields[path]))
	}
	if traits != nil {
		b.WriteString("=== OBSERVED STYLE (from the words of calls) ===\n")
		for _, group := range []map[string]float64{traits.CommunicationStyle, traits.EmotionalState} {
			for _, trait := range slices.Sorted(maps.Keys(group)) {
				line("%s: %.0f of 100 (over %d calls)", strings.ReplaceAll(trait, "_", " "), group[trait], traits.Measured)
			}
		}
	}
	summaries(&b, line, row.Summaries)
	return b.String()
}

func summaries(b *strings.Builder, line func(string, ...any), all []store.SummaryRow) {
	if len(all) == 0 {
		return
	}
	b.WriteString("=== RECENT CALL SUMMARIES ===\n")
	for i, r := range all {
		s := summaryOf(r)
		line("Call %d (%s):", i+1, day(r.Date))
		line("Summary: %s", s.Summary)
		if len(s.KeyTopics) > 0 {
			line("Topics: %s", strings.Join(s.KeyTopics, ", "))
		}
		var info []string
		for _, k := range slices.Sorted(maps.Keys(s.KeyVariables)) {
			info = append(info, k+"="+fmt.Sprint(s.KeyVariables[k]))
		}
		if len(info) > 0 {
			line("Key Info: %s", strings.Join(info, ", "))
		}
		line("Sentiment: %s", s.Sentiment)
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

// clip cuts a text at a whole character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
