//go:build tools

// Package main names helm, so that this module holds its version too.
package main

import _ "helm.sh/helm/v3/cmd/helm"
