-- The preview path's share of what Quarto does by itself: numbered captions and sections,
-- references to them, callouts.

local TYPST = FORMAT:match("typst") ~= nil
local NAMES = { fig = "Figure", tbl = "Table", sec = "Section" }

local numbers = {} -- id -> "Figure 2"
local counts = { fig = 0, tbl = 0 }
local section = {}
local numbered = false

local function kind_of(id)
  local kind = id:match("^(%a+)%-")
  return NAMES[kind] and kind or nil
end

local function prefix(caption, name)
  local first = caption.long[1]
  if first and first.content then
    first.content:insert(1, pandoc.Space())
    first.content:insert(1, pandoc.Strong({ pandoc.Str(name .. ".") }))
  end
  return caption
end

local function float(element)
  local kind = kind_of(element.identifier)
  if kind ~= "fig" and kind ~= "tbl" then
    return nil
  end
  counts[kind] = counts[kind] + 1
  local name = NAMES[kind] .. "\u{a0}" .. counts[kind]
  numbers[element.identifier] = name
  if TYPST then
    return element
  end
  element.caption = prefix(element.caption, name)
  if kind == "tbl" then
    -- A caption inside a narrow table would be as narrow as the table.
    local caption = element.caption
    element.caption = { long = {} }
    local id = element.identifier
    element.identifier = ""
    return pandoc.Figure({ element }, caption, { id = id, class = "tbl" }), false
  end
  return element
end

local function header(element)
  local depth = element.level - 1
  if not numbered or depth < 1 or element.classes:includes("unnumbered") then
    return nil
  end
  for i = depth + 1, #section do
    section[i] = nil
  end
  for i = 1, depth do
    section[i] = (section[i] or 0) + (i == depth and 1 or 0)
  end
  local number = table.concat(section, ".")
  numbers[element.identifier] = "Section\u{a0}" .. number
  if not TYPST and depth <= 2 then
    local mark = pandoc.Span({ pandoc.Str(number) }, { class = "header-section-number" })
    element.content:insert(1, mark)
  end
  return element
end

local function image(element)
  local alt = element.attributes["fig-alt"]
  if alt then
    element.caption = pandoc.Inlines({ pandoc.Str(alt) })
    element.attributes["fig-alt"] = nil
    return element
  end
end

local function callout(div)
  local kind
  for _, class in ipairs(div.classes) do
    kind = kind or class:match("^callout%-(%a+)$")
  end
  if not kind then
    return nil
  end
  local title = div.attributes.title or (kind:sub(1, 1):upper() .. kind:sub(2))
  local inlines = pandoc.utils.blocks_to_inlines(pandoc.read(title, "markdown").blocks)
  if TYPST then
    local out = pandoc.Blocks({ pandoc.RawBlock("typst", '#callout-box("' .. kind .. '")[') })
    out:insert(pandoc.Plain(inlines))
    out:insert(pandoc.RawBlock("typst", "]["))
    out:extend(div.content)
    out:insert(pandoc.RawBlock("typst", "]"))
    return out
  end
  div.attributes.title = nil
  div.classes = { "callout", "callout-" .. kind }
  div.content:insert(1, pandoc.Div({ pandoc.Plain(inlines) }, { class = "callout-title" }))
  return div
end

local function reference(id)
  local name = numbers[id]
  if not name then
    error("reference @" .. id .. " points at nothing on this page")
  end
  if TYPST then
    return pandoc.RawInline("typst", "#ref(<" .. id .. ">)")
  end
  return pandoc.Link({ pandoc.Str(name) }, "#" .. id, "", { class = "quarto-xref" })
end

local function cite(element)
  local out = pandoc.Inlines({})
  for i, citation in ipairs(element.citations) do
    if not kind_of(citation.id) then
      return nil
    end
    if i > 1 then
      out:extend({ pandoc.Str(","), pandoc.Space() })
    end
    out:insert(reference(citation.id))
  end
  return out
end

local function page_link(link)
  link.target = link.target:gsub("^([%w-]+)%.qmd", "%1.html")
  return link
end

function Pandoc(doc)
  numbered = doc.meta["number-sections"] == true
  doc = doc:walk({ traverse = "topdown", Figure = float, Table = float, Header = header })
  return doc:walk({ Image = image, Div = callout, Cite = cite, Link = page_link })
end
