package memory

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"neurosphere.ai/neurosphere/internal/store"
)

// summary is one call, summarized.
type summary struct {
	CallID           string            `json:"call_id"`
	CallDate         time.Time         `json:"call_date"`
	DurationSeconds  int               `json:"duration_seconds"`
	Summary          string            `json:"summary"`
	KeyTopics        []string          `json:"key_topics"`
	KeyVariables     map[string]string `json:"key_variables"`
	Sentiment        string            `json:"sentiment"`
	ResolutionStatus string            `json:"resolution_status"`
}

func summaryOf(r store.SummaryRow) summary {
	s := summary{
		CallID: r.Call, CallDate: r.Date.UTC(), DurationSeconds: r.Seconds, Summary: r.Summary, KeyTopics: r.Topics, KeyVariables: r.Variables,
		Sentiment: r.Sentiment, ResolutionStatus: r.Resolution,
	}
	if s.KeyTopics == nil {
		s.KeyTopics = []string{}
	}
	if s.KeyVariables == nil {
		s.KeyVariables = map[string]string{}
	}
	return s
}

func (s *service) summaryRoutes(a *api) {
	route(a, huma.Operation{
		Method: http.MethodGet, Path: "/v2/summaries/{user_id}", OperationID: "list-summaries", Summary: "A caller's calls, summarized, newest first",
	}, s.listSummaries)
	route(a, huma.Operation{
		Method: http.MethodPost, Path: "/v2/summaries/search", OperationID: "search-summaries", Summary: "A caller's calls that say most about a question, best first",
	}, s.searchSummaries)
}

type listSummariesIn struct {
	CustomerQuery
	PageQuery
	UserPath
}

type listSummariesOut struct {
	Body struct {
		Success    bool      `json:"success"`
		CustomerID int32     `json:"customer_id"`
		UserID     string    `json:"user_id"`
		Summaries  []summary `json:"summaries"`
		Total      int       `json:"total" doc:"Of all pages"`
		NextCursor string    `json:"next_cursor,omitempty"`
	}
}

func (s *service) listSummaries(ctx context.Context, who asker, in *listSummariesIn) (*listSummariesOut, error) {
	user, err := caller("path.user_id", in.UserID)
	if err != nil {
		return nil, err
	}
	list := "summaries/" + user
	var after *store.Place
	var place store.Place
	if there, err := s.open(who.tenant, list, in.Cursor, &place); err != nil {
		return nil, err
	} else if there {
		after = &place
	}
	rows, total, err := who.rows.Summaries(ctx, user, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := &listSummariesOut{}
	out.Body.Success, out.Body.CustomerID, out.Body.UserID, out.Body.Summaries, out.Body.Total = true, int32(who.tenant), user, []summary{}, total
	if len(rows) > in.Limit {
		rows = rows[:in.Limit]
		last := rows[in.Limit-1]
		if out.Body.NextCursor, err = s.seal(who.tenant, list, store.Place{At: last.Date, ID: last.Call}); err != nil {
			return nil, err
		}
	}
	for _, r := range rows {
		out.Body.Summaries = append(out.Body.Summaries, summaryOf(r))
	}
	return out, nil
}

type searchSummariesIn struct {
	Body struct {
		CustomerBody
		UserID string `json:"user_id" maxLength:"220"`
		Query  string `json:"query" maxLength:"500" doc:"Any word counts"`
		Limit  int    `json:"limit,omitempty" nullable:"true" minimum:"1" maximum:"200" default:"5"`
	}
}

type searchSummariesOut struct {
	Body struct {
		Success    bool      `json:"success"`
		CustomerID int32     `json:"customer_id"`
		UserID     string    `json:"user_id"`
		Results    []summary `json:"results"`
	}
}

func (s *service) searchSummaries(ctx context.Context, who asker, in *searchSummariesIn) (*searchSummariesOut, error) {
	user, err := caller("body.user_id", in.Body.UserID)
	if err != nil {
		return nil, err
	}
	rows, err := who.rows.SearchSummaries(ctx, user, plain(strings.TrimSpace(in.Body.Query)), in.Body.Limit)
	if err != nil {
		return nil, err
	}
	out := &searchSummariesOut{}
	out.Body.Success, out.Body.CustomerID, out.Body.UserID, out.Body.Results = true, int32(who.tenant), user, []summary{}
	for _, r := range rows {
		out.Body.Results = append(out.Body.Results, summaryOf(r))
	}
	return out, nil
}
