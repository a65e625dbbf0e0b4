// Does every operation with the client that openapi-generator makes for Go.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"

	"program/client"
)

type plan struct {
	Url     string
	Token   string
	Entries []struct {
		Key    string
		Base64 []byte
		Json   any
	}
}

type object = map[string]any

func main() {
	var plan plan
	text, err := os.ReadFile(os.Args[1])
	must(err)
	must(json.Unmarshal(text, &plan))

	configuration := client.NewConfiguration()
	configuration.Servers = client.ServerConfigurations{{URL: plan.Url}}
	ctx := context.WithValue(context.Background(), client.ContextAccessToken, plan.Token)
	made := client.NewAPIClient(configuration)
	health, keys := made.HealthAPI, made.KeysAPI

	for _, check := range []func() (*client.Health, *http.Response, error){
		health.CheckLive(ctx).Execute, health.CheckReady(ctx).Execute,
	} {
		well, _, err := check()
		must(err)
		equal(well.Status, "ok")
	}
	for _, check := range []func() (*http.Response, error){health.IsLive(ctx).Execute, health.IsReady(ctx).Execute} {
		_, err := check()
		must(err)
	}

	token, _, err := made.TokenAPI.GetToken(ctx).Execute()
	must(err)
	equal(token.Scopes, []string{"read", "write", "delete"})
	_, err = made.TokenAPI.CheckToken(ctx).Execute()
	must(err)

	body, query := map[string]client.Value{"word": written("one")}, map[string]string{"world": "two"}
	stored, _, err := keys.StoreKeys(ctx).Pairs(body).QueryPairs(query).ExpireIn(60).Execute()
	must(err)
	equal(stored.Stored, int64(2))
	entries, _, err := keys.ListKeys(ctx).Filter("wor$").Execute()
	must(err)
	equal(shown(*entries), object{"word": "one", "world": "two"})
	entries, _, err = keys.ListKeys(ctx).Filter("wo$d").Values(false).Execute()
	must(err)
	equal(shown(*entries), object{"word": nil, "world": nil})
	answer, err := keys.CountKeys(ctx).Filter("wor$").Execute()
	must(err)
	equal(answer.Header.Get("Total-Count"), "2")

	change := func(key string, change client.Change) object {
		entry, _, err := keys.ChangeKey(ctx, key).Change(change).Execute()
		must(err)
		return shown(*entry)
	}
	zero := written("0")
	equal(change("counter", client.Change{Increment: client.PtrInt64(1 << 40)}), object{"counter": "1099511627776"})
	equal(change("counter", client.Change{Append: &zero}), object{"counter": "10995116277760"})
	expiry := client.Change{}
	expiry.SetExpireIn(30)
	equal(change("word", expiry), object{"word": "one"})

	_, _, err = keys.PutValue(ctx, "bytes").Value(file([]byte{255})).Execute()
	must(err)
	changed, _, err := keys.ChangeValue(ctx, "bytes").Change(client.Change{Append: &zero}).Execute()
	must(err)
	equal(content(changed), []byte{255, '0'})
	value, _, err := keys.GetValue(ctx, "bytes").Execute()
	must(err)
	equal(content(value), []byte{255, '0'})
	answer, err = keys.HasValue(ctx, "bytes").Execute()
	must(err)
	equal(answer.Header.Get("Content-Length"), "2")
	removed, _, err := keys.DeleteValue(ctx, "bytes").Execute()
	must(err)
	equal(removed.Deleted, int64(1))

	_, answer, err = keys.GetKey(ctx, "word").Execute()
	must(err)
	transaction := client.Transaction{
		If: map[string]*string{
			"word": client.PtrString(answer.Header.Get("ETag")), "world": client.PtrString("*"), "lock": nil,
		},
		Get:      []string{"word", "nothing"},
		Put:      map[string]client.Value{"lock": written("mine")},
		Delete:   []string{"world"},
		ExpireIn: client.PtrInt32(30),
	}
	outcome, _, err := keys.Transact(ctx).Transaction(transaction).Execute()
	must(err)
	equal(shown(outcome.Values), object{"word": "one", "nothing": nil})
	equal([]int64{outcome.Stored, outcome.Deleted}, []int64{1, 1})

	_, _, err = keys.PutKey(ctx, "word").Value(file([]byte("three"))).IfNoneMatch("*").Execute()
	equal(code(err), "precondition_failed")
	_, _, err = keys.GetKey(ctx, "nothing").Execute()
	equal(code(err), "key_not_found")

	deleted, _, err := keys.DeleteKey(ctx, "lock").Execute()
	must(err)
	equal(deleted.Deleted, int64(1))
	deleted, _, err = keys.DeleteKeys(ctx).Filter("wor$").Execute()
	must(err)
	equal(deleted.Deleted, int64(1))
	deleted, _, err = keys.DeleteKeys(ctx).Execute()
	must(err)
	equal(deleted.Deleted, int64(1))

	for _, entry := range plan.Entries {
		_, _, err = keys.PutKey(ctx, entry.Key).Value(file(entry.Base64)).Execute()
		must(err)
		_, err = keys.HasKey(ctx, entry.Key).Execute()
		must(err)
		found, _, err := keys.GetKey(ctx, entry.Key).Execute()
		must(err)
		equal(shown(found), object{entry.Key: entry.Json})
	}
}

func written(value string) client.Value {
	return client.Value{String: &value}
}

// As they are in JSON.
func shown(values map[string]*client.Value) object {
	plain := object{}
	text, err := json.Marshal(values)
	must(err)
	must(json.Unmarshal(text, &plain))
	return plain
}

// The type of a value is a file.
func file(value []byte) *os.File {
	path := filepath.Join(filepath.Dir(os.Args[1]), "value")
	must(os.WriteFile(path, value, 0o600))
	opened, err := os.Open(path)
	must(err)
	return opened
}

func content(file *os.File) []byte {
	content, err := os.ReadFile(file.Name())
	must(err)
	return content
}

func code(err error) string {
	switch problem := err.(*client.GenericOpenAPIError).Model().(type) {
	case client.Problem404:
		return problem.Code
	case client.Problem412:
		return problem.Code
	}
	panic(err)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func equal(found, expected any) {
	if !reflect.DeepEqual(found, expected) {
		panic(fmt.Sprintf("%v is not %v", found, expected))
	}
}
