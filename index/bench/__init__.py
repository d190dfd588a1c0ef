"""What the index measures about itself, beside its peers. The figures are rendered by `deploy.figures`."""
