// When a server that died is started again. Knows nothing of processes or clocks: times are milliseconds it is given.

export const LIMIT = 4; // starts after deaths within the window
const BASE = 500;
const WINDOW = 180_000;

/** The n-th death within the window is answered after `BASE` × 2ⁿ⁻¹, the one after `LIMIT` never. */
export class Backoff {
    private deaths: number[] = [];

    /** How long to wait before the next start, or null to leave it. */
    died(now: number): number | null {
        this.deaths = [...this.deaths.filter((then) => now - then < WINDOW), now];
        return this.deaths.length > LIMIT ? null : BASE * 2 ** (this.deaths.length - 1);
    }

    /** The user asked for a fresh start. */
    forget(): void {
        this.deaths = [];
    }
}
