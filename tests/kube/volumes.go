package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// Each claim gets a directory of the one node, handed out as a `local` volume: for those the kubelet applies fsGroup,
// which it does not for `hostPath`.
type directories struct{ root, node string }

func (d *directories) Provision(_ context.Context, options controller.ProvisionOptions) (*core.PersistentVolume, controller.ProvisioningState, error) {
	path := filepath.Join(d.root, options.PVName)
	if err := os.MkdirAll(path, 0o770); err != nil {
		return nil, controller.ProvisioningNoChange, fmt.Errorf("failed to make the volume's directory: %w", err)
	}
	mode := core.PersistentVolumeFilesystem
	here := core.NodeSelectorTerm{MatchExpressions: []core.NodeSelectorRequirement{
		{Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{d.node}},
	}}
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: options.PVName},
		Spec: core.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			MountOptions:                  options.StorageClass.MountOptions,
			VolumeMode:                    &mode,
			Capacity:                      core.ResourceList{core.ResourceStorage: options.PVC.Spec.Resources.Requests[core.ResourceStorage]},
			PersistentVolumeSource:        core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}},
			NodeAffinity:                  &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{here}}},
		},
	}, controller.ProvisioningFinished, nil
}

func (d *directories) Delete(_ context.Context, volume *core.PersistentVolume) error {
	path := filepath.Join(d.root, volume.Name)
	if volume.Spec.Local == nil || volume.Spec.Local.Path != path {
		return fmt.Errorf("%s is not a volume that was made here", volume.Name)
	}
	return os.RemoveAll(path)
}

// The cluster's volumes.
func provisioner() {
	config := flag.String("kubeconfig", "", "how to reach the API server")
	root := flag.String("root", "", "where the volumes' directories are made")
	node := flag.String("node", "", "name of the one node")
	name := flag.String("name", "gadget.test/directory", "what storage classes call it")
	flag.Parse()
	rest, err := clientcmd.BuildConfigFromFlags("", *config)
	if err != nil {
		klog.Fatal(err)
	}
	rest.QPS, rest.Burst = 50, 100
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		klog.Fatal(err)
	}
	background := context.Background()
	controller.NewProvisionController(background, client, *name, &directories{*root, *node}, controller.LeaderElection(false)).Run(background)
}
