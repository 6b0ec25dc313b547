"""From graph nodes to kernels: fused groups to loop IR, anchors to kernel templates."""
