package memory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// exactly is JSON by exact names. encoding/json takes "Limit" for limit, but
// huma has checked what limit says and knows no Limit. Numbers stay as they are
// written, however long. Errors are in words of ours and begin with what they
// are about, as in "body.limit: want a whole number".
var exactly = huma.Format{
	Marshal: huma.DefaultJSONFormat.Marshal,
	Unmarshal: func(data []byte, to any) (err error) {
		if v, ok := to.(*any); ok { // to be checked
			if err := decode(data, v); err != nil {
				return err
			}
			*v, err = floats("body", *v)
			return err
		}
		if data, err = exact("body", data, reflect.TypeOf(to).Elem()); err != nil {
			return err
		}
		return decode(data, to)
	},
}

func decode(data []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	err := dec.Decode(to)
	var form *json.UnmarshalTypeError
	switch {
	case errors.As(err, &form) && form.Field != "":
		return fmt.Errorf("body.%s: has another form than the document says", form.Field)
	case err != nil:
		return errors.New("body: has another form than the document says")
	}
	return nil
}

// floats is what JSON holds with numbers as huma checks them.
func floats(where string, v any) (_ any, err error) {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			return nil, fmt.Errorf("%s: the number is too large", where)
		}
		return f, nil
	case []any:
		for i := range v {
			if v[i], err = floats(fmt.Sprintf("%s[%d]", where, i), v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name := range v {
			if v[name], err = floats(where+"."+name, v[name]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// exact is JSON without members of objects whose names are not those of a
// type's fields. What has another form than the type is left to whoever decodes
// it, but for what huma lets pass and encoding/json does not.
func exact(where string, data []byte, t reflect.Type) (_ []byte, err error) {
	if t.Implements(reflect.TypeFor[json.Unmarshaler]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return data, nil
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int32, reflect.Int64:
		return whole(where, data)
	case reflect.Pointer:
		return exact(where, data, t.Elem())
	case reflect.Slice:
		var all []json.RawMessage
		if t.Elem().Kind() != reflect.Struct || json.Unmarshal(data, &all) != nil || all == nil {
			return data, nil
		}
		for i := range all {
			if all[i], err = exact(fmt.Sprintf("%s[%d]", where, i), all[i], t.Elem()); err != nil {
				return nil, err
			}
		}
		return joined(all, data), nil
	case reflect.Struct:
		var all, known map[string]json.RawMessage
		if json.Unmarshal(data, &all) != nil || all == nil {
			return data, nil
		}
		known = map[string]json.RawMessage{}
		for _, f := range reflect.VisibleFields(t) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if v, ok := all[name]; ok && name != "" {
				if known[name], err = exact(where+"."+name, v, f.Type); err != nil {
					return nil, err
				}
			}
		}
		return joined(known, data), nil
	}
	return data, nil
}

// whole is a number as encoding/json reads whole ones: 50 for 5e1.
func whole(where string, data []byte) ([]byte, error) {
	if string(data) == "null" {
		return data, nil
	}
	if _, err := strconv.ParseInt(string(data), 10, 64); err == nil {
		return data, nil
	}
	f, err := strconv.ParseFloat(string(data), 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return nil, fmt.Errorf("%s: want a whole number", where)
	}
	return strconv.AppendInt(nil, int64(f), 10), nil
}

func joined(v any, otherwise []byte) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		return otherwise
	}
	return out
}
