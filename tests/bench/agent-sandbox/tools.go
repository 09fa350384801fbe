//go:build tools

// Package peer names the controller that Gadget's operator is measured beside, so that this module holds its version.
package peer

import _ "sigs.k8s.io/agent-sandbox/cmd/agent-sandbox-controller"
