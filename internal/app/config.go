package app

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Config is the environment of a process. This struct is the table: its tags
// are read by the loader, by Usage and by the test that compares it with
// .env.example. Every secret can also be given as NAME_FILE, a path.
type Config struct {
	ListenAddr       string `env:"LISTEN_ADDR" envDefault:"127.0.0.1:8080" help:"address the HTTP server listens on"`
	PublicURL        string `env:"PUBLIC_URL" help:"what Twilio sees in front of LISTEN_ADDR; signatures are checked against it (default http://LISTEN_ADDR)"`
	DatabaseURL      string `env:"DATABASE_URL" secret:"true" help:"PostgreSQL, as the application's role; empty: a private one under DATA_DIR"`
	DatabaseAdminURL string `env:"DATABASE_ADMIN_URL" secret:"true" help:"PostgreSQL, as a role that may create roles; read by migrate, and by what makes erased bytes go from its files"`
	NATSURL          string `env:"NATS_URL" secret:"true" help:"NATS with JetStream; empty: a server inside the process, under DATA_DIR"`
	DataDir          string `env:"DATA_DIR" envDefault:"./data" help:"everything this process keeps on disk"`
	ErasureLedger    string `env:"ERASURE_LEDGER" help:"file that says what was erased, beside bus and database and not restored with them (default DATA_DIR/erasures.jsonl)"`
	MasterKey        string `env:"MASTER_KEY" secret:"true" help:"64 hex digits that secrets at rest are sealed with; made and kept in DATA_DIR when NATS or PostgreSQL are embedded: keep a copy of it, a lost one is not replaced"`
	TwilioAccountSID string `env:"TWILIO_ACCOUNT_SID" help:"AC…"`
	TwilioAuthToken  string `env:"TWILIO_AUTH_TOKEN" secret:"true" help:"signs what Twilio sends; empty together with TWILIO_API_URL: simulated"`
	TwilioAPIURL     string `env:"TWILIO_API_URL" help:"another server that speaks Twilio's REST API (default https://api.twilio.com)"`
	OpenAIKey        string `env:"OPENAI_API_KEY" secret:"true" help:"empty together with OPENAI_BASE_URL: simulated"`
	OpenAIBaseURL    string `env:"OPENAI_BASE_URL" help:"any server that speaks OpenAI's API (default https://api.openai.com/v1)"`
	OpenAIModel      string `env:"OPENAI_MODEL" envDefault:"gpt-4.1-mini" help:"model that talks and summarizes"`
	ElevenLabsKey    string `env:"ELEVENLABS_API_KEY" secret:"true" help:"voices of our own; Twilio speaks where it is empty"`
	ElevenLabsAPIURL string `env:"ELEVENLABS_API_URL" help:"another server that speaks ElevenLabs' API"`
	LogLevel         string `env:"LOG_LEVEL" envDefault:"info" help:"debug, info, warn or error"`
	DrainSeconds     int    `env:"DRAIN_SECONDS" envDefault:"30" help:"how long live calls may go on after a request to stop"`
	Replicas         int    `env:"NATS_REPLICAS" envDefault:"1" help:"copies of the event stream; 3 on a cluster"`
}

// Simulated vendors are used where neither key nor URL is given.
func (c Config) simulatedTwilio() bool { return c.TwilioAuthToken == "" && c.TwilioAPIURL == "" }
func (c Config) simulatedOpenAI() bool { return c.OpenAIKey == "" && c.OpenAIBaseURL == "" }

// Drain is DRAIN_SECONDS.
func (c Config) Drain() time.Duration { return time.Duration(c.DrainSeconds) * time.Second }

// Ledger is ERASURE_LEDGER, or its default.
func (c Config) Ledger() string {
	return cmp.Or(c.ErasureLedger, filepath.Join(c.DataDir, "erasures.jsonl"))
}

// LoadConfig reads the environment and reports everything wrong with it at
// once.
func LoadConfig(getenv func(string) string) (Config, error) {
	var c Config
	vars, errs := map[string]string{}, []error(nil)
	for _, f := range fields() {
		name := f.Tag.Get("env")
		v := getenv(name)
		if path := getenv(name + "_FILE"); f.Tag.Get("secret") != "" && path != "" {
			raw, err := os.ReadFile(path)
			switch {
			case v != "":
				errs = append(errs, fmt.Errorf("%s and %s_FILE are both set: keep one", name, name))
			case err != nil:
				errs = append(errs, fmt.Errorf("%s_FILE: %w", name, err))
			default:
				v = strings.TrimSpace(string(raw))
			}
		}
		if v != "" {
			vars[name] = v
		}
	}
	if err := env.ParseWithOptions(&c, env.Options{Environment: vars}); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, c.check()...)
	if c.PublicURL == "" {
		c.PublicURL = "http://" + c.ListenAddr
	}
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
	return c, errors.Join(errs...)
}

func (c Config) check() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, _, err := net.SplitHostPort(c.ListenAddr); err != nil {
		bad("LISTEN_ADDR: want host:port, got %q", c.ListenAddr)
	}
	for name, v := range map[string]string{
		"PUBLIC_URL": c.PublicURL, "TWILIO_API_URL": c.TwilioAPIURL,
		"OPENAI_BASE_URL": c.OpenAIBaseURL, "ELEVENLABS_API_URL": c.ElevenLabsAPIURL,
	} {
		if u, err := url.Parse(v); v != "" && (err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "") {
			bad("%s: want http(s)://host, got %q", name, v)
		}
	}
	if c.TwilioAuthToken != "" && c.TwilioAccountSID == "" {
		bad("TWILIO_ACCOUNT_SID: needed with TWILIO_AUTH_TOKEN")
	}
	if c.TwilioAPIURL != "" && c.TwilioAuthToken == "" {
		bad("TWILIO_AUTH_TOKEN: needed with TWILIO_API_URL")
	}
	if key, err := hex.DecodeString(c.MasterKey); c.MasterKey != "" && (err != nil || len(key) != 32) {
		bad("MASTER_KEY: want 64 hex digits")
	}
	switch c.LogLevel {
	case "", "debug", "info", "warn", "error":
	default:
		bad("LOG_LEVEL: want debug, info, warn or error, got %q", c.LogLevel)
	}
	if c.DrainSeconds < 0 || c.DrainSeconds > 24*3600 {
		bad("DRAIN_SECONDS: want 0 to 86400, got %d", c.DrainSeconds)
	}
	if c.Replicas < 0 || c.Replicas > 5 {
		bad("NATS_REPLICAS: want 1 to 5, got %d", c.Replicas)
	}
	return errs
}

func fields() []reflect.StructField { return reflect.VisibleFields(reflect.TypeFor[Config]()) }

// Usage is the environment as a table, for -h.
func Usage() string {
	var b strings.Builder
	b.WriteString("Environment:\n")
	for _, f := range fields() {
		note := f.Tag.Get("help")
		if d := f.Tag.Get("envDefault"); d != "" {
			note += " (default " + d + ")"
		}
		if f.Tag.Get("secret") != "" {
			note += " [also " + f.Tag.Get("env") + "_FILE]"
		}
		fmt.Fprintf(&b, "  %-20s %s\n", f.Tag.Get("env"), note)
	}
	return b.String()
}

// Names lists the variables of the table, in order.
func Names() (names []string) {
	for _, f := range fields() {
		names = append(names, f.Tag.Get("env"))
	}
	return names
}
