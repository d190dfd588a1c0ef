"""What the load generator measures about itself. The figures are rendered by `deploy.figures`."""
