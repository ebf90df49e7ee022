// Knative-check says what Knative Serving's admission webhook would say to a Service: JSON on standard input,
// with the feature flags at their defaults. Exit status 1 and the complaint if it would refuse it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/config"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

func main() {
	var service servingv1.Service
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&service); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	background := context.Background()
	ctx := apis.WithinCreate(config.ToContext(background, config.FromContextOrDefaults(background)))
	service.SetDefaults(ctx)
	if err := service.Validate(ctx); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
