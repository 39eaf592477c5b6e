"""What `quartier doctor` looks at: one small function a check, none of which changes anything."""
