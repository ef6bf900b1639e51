"""isthmus: run a trained network across device, edge and cloud."""
