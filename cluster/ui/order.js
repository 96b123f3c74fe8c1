// The order in which the catalogue last showed latents: that of j and k.

let known = { place: "", latents: [] };

export const remember = (run, sae, latents) => (known = { place: `${run}/${sae}`, latents });

// The latent after (or before) this one in that order, or by number where it was not shown.
export function neighbour(run, sae, latent, step, numLatents) {
  const at = known.place === `${run}/${sae}` ? known.latents.indexOf(latent) : -1;
  if (at >= 0) return known.latents[at + step] ?? latent;
  return Math.min(numLatents - 1, Math.max(0, latent + step));
}
