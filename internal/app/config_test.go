package app_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"neurosphere.ai/neurosphere/internal/app"
)

// The example names what the program reads, and nothing else.
func TestEnvExampleIsTheTable(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", ".env.example"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^#? ?([A-Z_]+)=`).FindAllStringSubmatch(string(raw), -1) {
		names = append(names, m[1])
	}
	want := app.Names()
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf(".env.example has %v\nthe program reads %v", names, want)
	}
	for _, n := range want {
		if !strings.Contains(app.Usage(), n) {
			t.Errorf("-h does not name %s", n)
		}
	}
}

func TestEverythingWrongIsReportedAtOnce(t *testing.T) {
	env := map[string]string{"LISTEN_ADDR": "nowhere", "PUBLIC_URL": "ftp://x", "LOG_LEVEL": "loud", "DRAIN_SECONDS": "-1", "MASTER_KEY": "abc", "TWILIO_AUTH_TOKEN": "t"}
	_, err := app.LoadConfig(func(k string) string { return env[k] })
	if err == nil {
		t.Fatal("accepted")
	}
	for name := range env {
		if name == "TWILIO_AUTH_TOKEN" {
			name = "TWILIO_ACCOUNT_SID"
		}
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not reported: %v", name, err)
		}
	}
	if strings.Contains(err.Error(), "abc") {
		t.Error("a secret is printed")
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"TWILIO_AUTH_TOKEN_FILE": path, "TWILIO_ACCOUNT_SID": "AC1"}
	c, err := app.LoadConfig(func(k string) string { return env[k] })
	if err != nil || c.TwilioAuthToken != "hush" {
		t.Errorf("%q, %v", c.TwilioAuthToken, err)
	}
	env["TWILIO_AUTH_TOKEN"] = "other"
	if _, err := app.LoadConfig(func(k string) string { return env[k] }); err == nil {
		t.Error("both given, and no complaint")
	}
}
