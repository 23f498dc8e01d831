"""New plugin packages, complete and working: what ``medbench new`` writes."""
