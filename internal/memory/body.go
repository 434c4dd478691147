package memory

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// exactly is JSON by exact names. encoding/json takes "Limit" for limit, but
// huma has checked what limit says and knows no Limit. Numbers stay as they are
// written, however long.
var exactly = huma.Format{
	Marshal: huma.DefaultJSONFormat.Marshal,
	Unmarshal: func(data []byte, to any) error {
		t := reflect.TypeOf(to).Elem()
		if t.Kind() == reflect.Interface { // to be checked
			return json.Unmarshal(data, to)
		}
		dec := json.NewDecoder(bytes.NewReader(exact(data, t)))
		dec.UseNumber()
		return dec.Decode(to)
	},
}

// exact is JSON without members of objects whose names are not those of a
// type's fields. What has another form than the type is left to whoever decodes
// it.
func exact(data []byte, t reflect.Type) []byte {
	if t.Implements(reflect.TypeFor[json.Unmarshaler]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return data
	}
	switch t.Kind() {
	case reflect.Pointer:
		return exact(data, t.Elem())
	case reflect.Slice:
		var all []json.RawMessage
		if t.Elem().Kind() != reflect.Struct || json.Unmarshal(data, &all) != nil || all == nil {
			return data
		}
		for i := range all {
			all[i] = exact(all[i], t.Elem())
		}
		return joined(all, data)
	case reflect.Struct:
		var all, known map[string]json.RawMessage
		if json.Unmarshal(data, &all) != nil || all == nil {
			return data
		}
		known = map[string]json.RawMessage{}
		for _, f := range reflect.VisibleFields(t) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if v, ok := all[name]; ok && name != "" {
				known[name] = exact(v, f.Type)
			}
		}
		return joined(known, data)
	}
	return data
}

func joined(v any, otherwise []byte) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		return otherwise
	}
	return out
}
