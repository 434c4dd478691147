package memory

import (
	"fmt"
	"strings"
	"testing"
)

// What is checked is what is read: a name in other letters is no name of ours.
func testNamesAreExact(t *testing.T, w *world) {
	c := w.tenant(t)
	auth := map[string]string{"Authorization": "Bearer " + c.key}
	post := func(path, members string) answered {
		t.Helper()
		return c.send("POST", path, []byte(fmt.Sprintf(`{"customer_id":%d,"user_id":"+12065550142",%s}`, c.id, members)), auth)
	}
	const memory = `"type":"fact","key":"k","value":1`
	for name, members := range map[string]string{
		"long type": memory + `,"Type":"` + strings.Repeat("x", 3000) + `"`, "content alone": memory + `,"Content":"` + strings.Repeat("x", 20_000) + `"`,
		"far away": memory + `,"TTL_days":99999999`, "another letter": memory + `,"\u0167tl_days":-1,"ttl_day\u017f":-1`, "no value": memory + `,"Value":null`,
	} {
		if got := post("/v1/memories", members); got.status != 201 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	for _, m := range c.want(200, "GET", "/v1/memories", nil).at("memories").([]any) {
		if m := m.(map[string]any); m["type"] != "fact" || m["content"] != "" || m["value"] != 1.0 || m["expires_at"] != nil {
			t.Errorf("kept: %v", m)
		}
	}
	if got := post("/v2/leads/%2B12065550142/stage", `"stage":"Lost","STAGE":"Nonsense"`); got.status != 200 || got.text("lead_stage") != "Lost" {
		t.Errorf("stage: %d %s", got.status, got.body)
	}
	if got := post("/v2/process-call", `"call_id":"ok","Call_ID":"no good","turns":[{"role":"user","text":"hello","Text":"`+strings.Repeat("x", 9000)+`"}]`); got.status != 202 || got.text("call_id") != "ok" {
		t.Errorf("call: %d %s", got.status, got.body)
	}
	if got := c.want(200, "GET", "/v2/calls/ok", nil); got.text("transcript", 0, "text") != "hello" {
		t.Errorf("transcript: %s", got.body)
	}
	for name, got := range map[string]answered{
		"limit": post("/memory/retrieve", `"limit":5,"LIMIT":-5`), "summaries": post("/v2/context/enriched", `"Num_summaries":-5`), "search": post("/v2/summaries/search", `"query":"x","LIMIT":-5`),
	} {
		if got.status != 200 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}

func testValuesStayAsTheyAre(t *testing.T, w *world) {
	c := w.tenant(t)
	for _, v := range []string{"9007199254740993", "12345678901234567890123", `{"policy":[10000000000000001,0.10]}`, `"<b>&"`} {
		body := fmt.Sprintf(`{"customer_id":%d,"user_id":"+12065550142","type":"fact","key":"k","value":%s}`, c.id, v)
		got := c.send("POST", "/v1/memories", []byte(body), map[string]string{"Authorization": "Bearer " + c.key, "Content-Type": "Application/JSON"})
		if got.status != 201 {
			t.Fatalf("%s: %d %s", v, got.status, got.body)
		}
		if got := c.want(200, "GET", "/v1/memories/"+got.text("id"), nil); !strings.Contains(got.body, `"value":`+v+`,`) {
			t.Errorf("%s became %s", v, got.body)
		}
	}
}

// The document says integer, and 5.0 is one.
func testWholeNumbersAreTakenHoweverWritten(t *testing.T, w *world) {
	c := w.known(t, "mine")
	for n, want := range map[string]int{
		"5": 200, "5.0": 200, "1e1": 200, "0.05e2": 200, "null": 200, "0.5": 422, "1e300": 422, "-0": 422, "1e400": 400, "99999999999999999999": 422,
	} {
		got := c.send("POST", "/memory/retrieve", []byte(fmt.Sprintf(`{"customer_id":%d,"user_id":"+12065550142","limit":%s}`, c.id, n)), map[string]string{"Authorization": "Bearer " + c.key})
		if got.status != want || want >= 400 && got.text("details", 0, "where") != "body.limit" {
			t.Errorf("%s: %d %s, want %d", n, got.status, got.body, want)
		}
	}
	got := c.send("POST", "/v1/memories", []byte(fmt.Sprintf(`{"customer_id":%d,"user_id":"+12065550142","type":"fact","key":"k","value":{"a":[1,{"b":-1e999}]}}`, c.id)), map[string]string{"Authorization": "Bearer " + c.key})
	if got.status != 400 || got.text("details", 0, "where") != "body.value.a[1].b" {
		t.Errorf("%d %s", got.status, got.body)
	}
}
