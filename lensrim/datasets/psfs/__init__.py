"""PSFs: analytic, measured, of telescopes' pupils, and how they change."""
