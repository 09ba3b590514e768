// What a front end writes against the generated types: it must compile under --strict, or the documents got worse.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Stream = components["schemas"]["Stream"];
type Event = components["schemas"]["Event"];

const api = createClient<paths>({ baseUrl: "http://localhost:3001" });

export async function requestLoan(loanId: number): Promise<{ stream: Stream; position: number }> {
  const { data, error } = await api.POST("/api/streams/create", {
    body: { streamName: `loan-${loanId}`, eventType: "LoanRequested", eventData: { loanId }, tags: ["loan"] },
  });
  if (error) {
    // Every failure is the one error body.
    const text: string = `${error.type} (${error.statusCode}): ${error.message}`;
    throw new Error(text);
  }
  return { stream: data.data.stream, position: data.data.event.position };
}

export async function history(streamName: string): Promise<Event[]> {
  const events: Event[] = [];
  let from: number | undefined;
  for (;;) {
    const { data } = await api.GET("/api/streams/{streamName}/events", {
      params: { path: { streamName }, query: { limit: 100, direction: "forwards", from } },
    });
    if (!data) return events;
    events.push(...data.data.events);
    const next: number | null | undefined = data.data.nextRevision;
    if (next === null || next === undefined) return events;
    from = next;
  }
}

export async function browse(prefix: string): Promise<string[]> {
  const { data } = await api.GET("/api/streams/browse", { params: { query: { prefix, limit: 50 } } });
  return (data?.data.streams ?? []).map((stream) => stream.name);
}

// @ts-expect-error: a direction that does not exist
void api.GET("/api/streams/{streamName}/events", { params: { path: { streamName: "x" }, query: { direction: "up" } } });
