/** What the service takes: mono float32 at the model's rate, cut into frames by habit. */
export const MODEL_RATE_HZ = 24_000;
export const FRAME_SAMPLES = 1_920;
export const FRAME_SECONDS = FRAME_SAMPLES / MODEL_RATE_HZ;
